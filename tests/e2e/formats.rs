//! Output formats and digests, byte for byte against the tools that people use.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::support::peers::{self, ALGORITHMS};
use crate::support::rows::{self, Outcome};
use crate::support::tree::{Hostile, Scratch, list};
use crate::support::{Mill, assert_same, for_each_engine};

const COREUTILS: [&str; 4] = ["sha256", "sha512", "sha1", "md5"];

/// The options for the forms of lines, alone and together.
const FORMS: [&[&str]; 4] = [&[], &["--tag"], &["-z"], &["--tag", "-z"]];

#[test]
fn same_bytes_as_coreutils_in_every_form() {
    let tree = Hostile::new();
    let names = tree.names();
    let input = list(&names, 0);
    for algorithm in COREUTILS {
        for form in FORMS {
            let command = [&[&format!("{algorithm}sum") as &str], form, &["--"]]
                .concat()
                .join(" ");
            let expected = peers::over(&command, tree.dir(), &names);
            for_each_engine(|engine| {
                let mill = Mill::new(engine)
                    .dir(tree.dir())
                    .args(["-a", algorithm, "-0"]);
                let output = mill.args(form).stdin(input.clone()).run().succeeds();
                assert_same(&command, &output.stdout, &expected);
            });
        }
    }
}

#[test]
fn path_arguments_give_the_same_bytes_as_coreutils() {
    let tree = Hostile::new();
    let names = tree.names();
    let expected = peers::over("sha256sum --", tree.dir(), &names);
    let paths: Vec<&OsStr> = names.iter().map(|name| os(name)).collect();
    for_each_engine(|engine| {
        let mill = Mill::new(engine)
            .dir(tree.dir())
            .args(["-a", "sha256", "--"]);
        mill.args(&paths).run().succeeds().prints(&expected);
    });
}

#[test]
fn coreutils_accept_the_lines() {
    let tree = Hostile::new();
    for algorithm in COREUTILS {
        for form in [&[][..], &["--tag"]] {
            for_each_engine(|engine| {
                let mill = Mill::new(engine)
                    .dir(tree.dir())
                    .args(["-a", algorithm, "-0"]);
                let lines = mill
                    .args(form)
                    .stdin(list(&tree.names(), 0))
                    .run()
                    .succeeds()
                    .stdout;
                let tool = format!("{algorithm}sum");
                let args = ["-c", "--strict"].map(OsStr::new);
                let verdicts = peers::run(&tool, &args, tree.dir(), &lines).stdout;
                let verdicts = String::from_utf8_lossy(&verdicts);
                let good = verdicts
                    .lines()
                    .filter(|line| line.ends_with(": OK"))
                    .count();
                assert_eq!(good, tree.names.len(), "{tool} {form:?}: {verdicts}");
            });
        }
    }
}

/// b3sum 1.2 prints names that are not UTF-8 lossily and leaves a carriage return as it is, so the
/// lines are compared for the other names only, and the digests for all of them.
#[test]
fn same_bytes_as_b3sum() {
    let tree = Hostile::new();
    let (same, other): (Vec<&[u8]>, Vec<&[u8]>) = tree
        .names()
        .into_iter()
        .partition(|name| !name.contains(&b'\r') && std::str::from_utf8(name).is_ok());
    assert!(
        same.len() > 30 && other.len() > 5,
        "both kinds of names are in the tree"
    );
    let lines = peers::over("b3sum --", tree.dir(), &same);
    for_each_engine(|engine| {
        let mill = || Mill::new(engine).dir(tree.dir()).arg("-0");
        let output = mill().stdin(list(&same, 0)).run().succeeds();
        assert_same("b3sum", &output.stdout, &lines);
        let check = [OsStr::new("--check")];
        peers::run("b3sum", &check, tree.dir(), &output.stdout);
        assert_digests(mill(), "blake3", &tree, &other);
    });
}

/// xxhsum 0.8.1 escapes no name, prints XXH3 in the BSD form only, and takes `-name` for an option
/// wherever it stands. Names where that makes no difference are compared byte for byte, the others
/// by their digests.
#[test]
fn same_bytes_as_xxhsum() {
    let tree = Hostile::new();
    let (same, other): (Vec<&[u8]>, Vec<&[u8]>) = tree.names().into_iter().partition(|name| {
        !name.iter().any(|byte| b"\\\r\n".contains(byte)) && !name.starts_with(b"-")
    });
    assert!(
        same.len() > 20 && other.len() > 10,
        "both kinds of names are in the tree"
    );
    let forms: [(&str, &[&str], &str); 3] = [
        ("xxh3", &["--tag"], "xxhsum -H3 --tag"),
        ("xxh128", &["--tag"], "xxhsum -H2 --tag"),
        ("xxh128", &[], "xxhsum -H2"),
    ];
    for (algorithm, form, command) in forms {
        let lines = peers::over(command, tree.dir(), &same);
        for_each_engine(|engine| {
            let mill = || {
                Mill::new(engine)
                    .dir(tree.dir())
                    .args(["-0", "-a", algorithm])
            };
            let output = mill().args(form).stdin(list(&same, 0)).run().succeeds();
            assert_same(command, &output.stdout, &lines);
            let check = ["-c", "--quiet", "--strict"].map(OsStr::new);
            peers::run("xxhsum", &check, tree.dir(), &output.stdout);
            assert_digests(mill(), algorithm, &tree, &other);
        });
    }
}

fn assert_digests(mill: Mill, algorithm: &str, tree: &Hostile, names: &[&[u8]]) {
    let output = mill
        .args(["--format", "jsonl"])
        .stdin(list(names, 0))
        .run()
        .succeeds();
    let rows = rows::parse(&output.stdout);
    let digests: Vec<&str> = rows.iter().map(|row| row.digest()).collect();
    assert_eq!(
        digests,
        peers::digests(algorithm, tree.dir(), names),
        "{algorithm}"
    );
}

#[test]
fn json_lines_hold_every_field_of_every_file() {
    let tree = Hostile::new();
    let names = tree.names();
    for algorithm in ALGORITHMS {
        let digests = peers::digests(algorithm, tree.dir(), &names);
        for_each_engine(|engine| {
            let mill = Mill::new(engine)
                .dir(tree.dir())
                .args(["-0", "-a", algorithm]);
            let mill = mill.args(["--format", "jsonl"]).stdin(list(&names, 0));
            let rows = rows::parse(&mill.run().succeeds().stdout);
            assert_eq!(rows.len(), names.len());
            for (index, row) in rows.iter().enumerate() {
                assert_eq!(row.index, index as u64);
                assert_eq!(row.path, names[index]);
                assert_eq!(row.algorithm, algorithm);
                assert_eq!(
                    row.digest(),
                    digests[index],
                    "{algorithm} of {}",
                    os(names[index]).display()
                );
                let size = crate::support::tree::read_at(tree.dir(), names[index]).len();
                assert_eq!(row.size(), size as u64);
                assert!(!row.changed(), "it did not change: {row:?}");
            }
        });
    }
}

/// Two names of one file, a copy, a symbolic link, a device, and a time before 1970.
#[test]
fn fields_that_are_asked_for() {
    let scratch = Scratch::new();
    for name in ["one", "copy", "old"] {
        scratch.file(name, "content");
    }
    fs::hard_link(scratch.join("one"), scratch.join("two")).unwrap();
    std::os::unix::fs::symlink("one", scratch.join("link")).unwrap();
    let before_1970 = std::time::UNIX_EPOCH - std::time::Duration::from_nanos(1_500_000_001);
    let old = fs::File::options().write(true).open(scratch.join("old"));
    old.unwrap().set_modified(before_1970).unwrap();
    let names = ["one", "two", "copy", "link", "old", "/dev/null", "missing"];
    for_each_engine(|engine| {
        let mill = || {
            Mill::new(engine)
                .dir(scratch.path())
                .args(["--format=jsonl", "--special=read"])
        };
        let output = mill()
            .args(["--fields", "device,inode,nlink,mtime_ns"])
            .args(names)
            .run()
            .exits(1);
        let rows = serde_json::Deserializer::from_slice(&output.stdout).into_iter();
        let rows: Vec<serde_json::Value> = rows.collect::<Result<_, _>>().unwrap();
        for (name, row) in names.iter().zip(&rows) {
            let Ok(metadata) = fs::metadata(scratch.join(name)) else {
                assert!(
                    row.get("error").is_some() && row.get("inode").is_none(),
                    "{row}"
                );
                continue;
            };
            let mtime_ns = metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec();
            assert_eq!(row["device"], metadata.dev(), "{row}");
            assert_eq!(row["inode"], metadata.ino(), "{row}");
            assert_eq!(row["nlink"], metadata.nlink(), "{row}");
            assert_eq!(row["mtime_ns"], mtime_ns, "{row}");
        }
        assert_eq!(rows.len(), names.len());
        assert_eq!(rows[4]["mtime_ns"], -1_500_000_001, "{}", rows[4]);
        let output = mill().args(["--fields", "nlink", "two"]).run().succeeds();
        let row: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(row["nlink"], 2, "{row}");
        assert!(row.get("inode").is_none(), "{row}");
    });
    let mill = Mill::auto()
        .dir(scratch.path())
        .args(["--fields", "inode", "one"]);
    mill.run()
        .exits(2)
        .mentions(&["--fields needs --format jsonl"]);
    let mill = Mill::auto().args(["--format=jsonl", "--fields", "size", "one"]);
    mill.run()
        .exits(2)
        .mentions(&["device, inode, nlink, mtime_ns"]);
}

/// The peers cannot print these forms, so they are built from the digests.
#[test]
fn forms_that_no_peer_has() {
    let scratch = Scratch::new();
    let names: [&[u8]; 4] = [b"plain", b"new\nline", b"back\\slash\r", b"\xff"];
    for name in names {
        scratch.file(name, name);
    }
    let escaped: [&[u8]; 4] = [b"plain", b"new\\nline", b"back\\\\slash\\r", b"\xff"];
    for algorithm in ["blake3", "xxh3", "xxh128", "crc32c"] {
        let digests = peers::digests(algorithm, scratch.path(), &names);
        let tag = peers::tag(algorithm);
        let (mut lines, mut tagged, mut nul) = (Vec::new(), Vec::new(), Vec::new());
        for ((digest, name), safe) in digests.iter().zip(names).zip(escaped) {
            let mark: &[u8] = if name == safe { b"" } else { b"\\" };
            let digest = digest.as_bytes();
            lines.extend([mark, digest, b"  ", safe, b"\n"].concat());
            tagged.extend([mark, tag.as_bytes(), b" (", safe, b") = ", digest, b"\n"].concat());
            nul.extend([digest, b"  ", name, b"\0"].concat());
        }
        for_each_engine(|engine| {
            for (form, expected) in [(&[][..], &lines), (&["--tag"], &tagged), (&["-z"], &nul)] {
                let mill = Mill::new(engine)
                    .dir(scratch.path())
                    .args(["-0", "-a", algorithm]);
                mill.args(form)
                    .stdin(list(&names, 0))
                    .run()
                    .succeeds()
                    .prints(expected);
            }
        });
    }
}

#[test]
fn known_digests() {
    // The empty string and "abc", as published (FIPS 180, RFC 1321, the BLAKE3 and xxHash test
    // vectors, RFC 3720's polynomial): an oracle that is not installed but written down.
    let known = [
        ("sha1", "", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
        ("sha1", "abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
        ("md5", "", "d41d8cd98f00b204e9800998ecf8427e"),
        ("md5", "abc", "900150983cd24fb0d6963f7d28e17f72"),
        (
            "sha256",
            "",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
        (
            "sha256",
            "abc",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
        (
            "blake3",
            "",
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
        ),
        ("xxh3", "", "2d06800538d394c2"),
        ("xxh128", "", "99aa06d3014798d86001c324468d497f"),
        ("crc32c", "", "00000000"),
        ("crc32c", "123456789", "e3069283"),
    ];
    let scratch = Scratch::new();
    for_each_engine(|engine| {
        for (algorithm, content, digest) in known {
            let path = scratch.file("known", content);
            let output = Mill::new(engine)
                .args(["-a", algorithm])
                .arg(&path)
                .run()
                .succeeds();
            output.prints(format!("{digest}  {}\n", path.display()));
        }
    });
}

#[test]
fn blake3_is_the_default() {
    let scratch = Scratch::new();
    let path = scratch.file("a", "a");
    let digest = peers::digest("blake3", b"a");
    for_each_engine(|engine| {
        let output = Mill::new(engine).arg(&path).run().succeeds();
        output.prints(format!("{digest}  {}\n", path.display()));
    });
}

#[test]
fn output_goes_into_a_file() {
    let scratch = Scratch::new();
    scratch.file("a", "abc");
    let digest = peers::digest("sha256", b"abc");
    for_each_engine(|engine| {
        let target = scratch.file("out", "what was there before is gone");
        let mill = Mill::new(engine)
            .dir(scratch.path())
            .args(["-a", "sha256", "-o", "out", "a"]);
        mill.run().succeeds().prints("");
        assert_same(
            "the file",
            &fs::read(target).unwrap(),
            format!("{digest}  a\n").as_bytes(),
        );
    });
}

/// Control characters in a name are escaped in messages, so that they cannot garble the terminal; other
/// bytes stay.
#[test]
fn messages_escape_control_characters() {
    let scratch = Scratch::new();
    let name = b"no\nsuch\r\x1b[31m\t\\ caf\xe9 \xf0\x9f\xa6\x80 \xc2\x9b2J \xe2\x80\xaetxt.exe";
    let line = b"ringmill: no\\nsuch\\r\\x1b[31m\\x09\\ caf\xe9 \xf0\x9f\xa6\x80 \\u{9b}2J \
                 \\u{202e}txt.exe: cannot open: No such file or directory\n";
    for_each_engine(|engine| {
        let mill = Mill::new(engine)
            .dir(scratch.path())
            .arg("-0")
            .stdin(list(&[name], 0));
        mill.run().exits(1).prints("").complains(line);
    });
    let lists = Mill::auto()
        .args(["--files-from", "no\x1bsuch\u{202e}"])
        .run();
    let line = "ringmill: no\\x1bsuch\\u{202e}: cannot open: No such file or directory\n";
    lists.exits(2).complains(line);
}

#[test]
fn json_lines_hold_failures_too() {
    let scratch = Scratch::new();
    scratch.file("good", "good");
    fs::create_dir(scratch.join("dir")).unwrap();
    for_each_engine(|engine| {
        let mill = Mill::new(engine)
            .dir(scratch.path())
            .args(["--format", "jsonl", "-0"]);
        let output = mill.stdin(*b"missing\0good\0dir\0no\xff\0").run().exits(1);
        let rows = rows::parse(&output.stdout);
        assert_eq!(
            rows.iter().map(|row| row.index).collect::<Vec<_>>(),
            [0, 1, 2, 3]
        );
        let paths: Vec<&[u8]> = rows.iter().map(|row| row.path.as_slice()).collect();
        assert_eq!(paths, [&b"missing"[..], b"good", b"dir", b"no\xff"]);
        let missing = ("open", "ENOENT", "No such file or directory");
        assert_eq!(rows[0].error(), missing);
        assert!(matches!(rows[1].outcome, Outcome::Digest { .. }));
        assert_eq!(rows[2].error(), ("read", "EISDIR", "Is a directory"));
        assert_eq!(rows[3].error(), missing);
        let messages: [&[u8]; 4] = [
            b"ringmill: missing: cannot open: No such file or directory\n",
            b"ringmill: dir: cannot read: Is a directory\n",
            b"hint: `find DIR -type f -print0 | ringmill hash -0` hashes the files of a directory\n",
            b"ringmill: no\xff: cannot open: No such file or directory\n",
        ];
        output.complains(messages.concat());
    });
}

fn os(name: &[u8]) -> &OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(name)
}
