//! Where items come from: lists of every shape, arguments, terminals.

use std::fs::{self, File};
use std::io::Write;
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::fusefs::{Errno, Mounted, Script};
use crate::support::rows;
use crate::support::terminal::terminal;
use crate::support::tree::{Corpus, Hostile, LONGEST_PATH, Scratch, gnu_lines, list};
use crate::support::{Engine, Mill, Output, eventually, for_each_engine, peers};

fn sha256(engine: Engine) -> Mill {
    Mill::new(engine).args(["-a", "sha256"])
}

#[test]
fn a_list_on_stdin() {
    let corpus = Corpus::new(300);
    for_each_engine(|engine| {
        let mill = || sha256(engine).dir(corpus.dir());
        mill()
            .stdin(corpus.list())
            .run()
            .succeeds()
            .prints(corpus.expected());
        let list = corpus.list();
        mill()
            .arg("--files-from=-")
            .stdin(list)
            .run()
            .succeeds()
            .prints(corpus.expected());
    });
}

#[test]
fn a_list_with_nul_separators() {
    let corpus = Corpus::new(300);
    for_each_engine(|engine| {
        for option in ["-0", "--null"] {
            let mill = sha256(engine).dir(corpus.dir()).arg(option);
            let output = mill.stdin(list(&corpus.names, 0)).run().succeeds();
            output.prints(corpus.expected());
        }
    });
}

/// Every byte except the newline is part of the name.
#[test]
fn lines_are_taken_as_they_are() {
    let tree = Hostile::new();
    let names = tree.line_names();
    let expected = peers::over("sha256sum -z --", tree.dir(), &names);
    for_each_engine(|engine| {
        let mill = sha256(engine).dir(tree.dir()).arg("-z");
        mill.stdin(list(&names, b'\n'))
            .run()
            .succeeds()
            .prints(&expected);
    });
}

#[test]
fn the_last_name_needs_no_end() {
    let corpus = Corpus::new(3);
    for_each_engine(|engine| {
        for (option, separator) in [(None, b'\n'), (Some("-0"), 0)] {
            let mut input = list(&corpus.names, separator);
            input.pop();
            let mill = sha256(engine).dir(corpus.dir()).args(option);
            mill.stdin(input).run().succeeds().prints(corpus.expected());
        }
    });
}

#[test]
fn no_items_are_no_lines() {
    for_each_engine(|engine| {
        Mill::new(engine).stdin("").run().succeeds().prints("");
        Mill::new(engine)
            .args(["--files-from", "/dev/null"])
            .run()
            .succeeds()
            .prints("");
        let mill = Mill::new(engine).args(["--format", "jsonl"]).stdin("");
        mill.run().succeeds().prints("");
    });
}

#[test]
fn several_lists_are_one_input() {
    let corpus = Corpus::new(90);
    let (first, rest) = corpus.names.split_at(30);
    let (second, third) = rest.split_at(30);
    corpus.scratch.file("first", list(first, b'\n'));
    // Without a final separator: the next list must not continue this name.
    let mut unfinished = list(third, b'\n');
    unfinished.pop();
    corpus.scratch.file("third", unfinished);
    for_each_engine(|engine| {
        let lists = [
            "--files-from",
            "first",
            "--files-from=-",
            "--files-from",
            "third",
        ];
        let mill = || {
            sha256(engine)
                .dir(corpus.dir())
                .args(lists)
                .stdin(list(second, b'\n'))
        };
        mill().run().succeeds().prints(corpus.expected());
        let rows = rows::parse(&mill().args(["--format", "jsonl"]).run().succeeds().stdout);
        let indices: Vec<u64> = rows.iter().map(|row| row.index).collect();
        assert_eq!(
            indices,
            (0..90).collect::<Vec<_>>(),
            "the index runs over all lists"
        );
    });
}

#[test]
fn an_unfinished_list_does_not_run_into_the_next() {
    let corpus = Corpus::new(2);
    corpus.scratch.file("list1", &corpus.names[0]);
    corpus.scratch.file("list2", &corpus.names[1]);
    for_each_engine(|engine| {
        let mill = sha256(engine).dir(corpus.dir());
        let mill = mill.args(["--files-from", "list1", "--files-from", "list2"]);
        mill.run().succeeds().prints(corpus.expected());
    });
}

#[test]
fn a_fifo_as_list() {
    let corpus = Corpus::new(200);
    for_each_engine(|engine| {
        let name = format!("fifo-{}", engine.name());
        let fifo = corpus.scratch.join(&name);
        mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("mkfifo");
        let list = corpus.list();
        let writer = thread::spawn(move || {
            let mut fifo = File::options()
                .write(true)
                .open(fifo)
                .expect("open for writing");
            for piece in list.chunks(777) {
                fifo.write_all(piece).expect("ringmill reads the list");
            }
        });
        let mill = sha256(engine)
            .dir(corpus.dir())
            .args(["--files-from", &name]);
        mill.run().succeeds().prints(corpus.expected());
        writer.join().expect("the writer");
    });
}

/// Names that arrive in pieces are joined again, wherever they are cut.
#[test]
fn a_list_that_dribbles() {
    let corpus = Corpus::new(5);
    for_each_engine(|engine| {
        let mut mill = sha256(engine).dir(corpus.dir()).stdin_pipe().start();
        for byte in corpus.list() {
            mill.feed([byte]);
        }
        mill.finish().succeeds().prints(corpus.expected());
    });
}

#[test]
fn an_empty_line_is_an_item_that_fails() {
    let corpus = Corpus::new(2);
    let complaint = "ringmill: : cannot open: No such file or directory\n";
    for_each_engine(|engine| {
        for (option, separator) in [(None, "\n"), (Some("-0"), "\0")] {
            let input = ["", &corpus.names[0], "", "", &corpus.names[1], "", ""].join(separator);
            let mill = || {
                sha256(engine)
                    .dir(corpus.dir())
                    .args(option)
                    .stdin(input.clone())
            };
            let output = mill().run().exits(1);
            output
                .prints(corpus.expected())
                .complains(complaint.repeat(4));
            let rows = rows::parse(&mill().args(["--format", "jsonl"]).run().exits(1).stdout);
            assert_eq!(rows.len(), 6);
            for index in [0, 2, 3, 5] {
                assert_eq!(rows[index].path, b"");
                let error = ("open", "ENOENT", "No such file or directory");
                assert_eq!(rows[index].error(), error);
            }
        }
    });
}

#[test]
fn a_nul_in_a_line_is_an_item_that_fails() {
    let corpus = Corpus::new(2);
    let input = format!(
        "{}\n{}\0x\n\0\n{}\n",
        corpus.names[0], corpus.names[0], corpus.names[1]
    );
    for_each_engine(|engine| {
        let mill = || sha256(engine).dir(corpus.dir()).stdin(input.clone());
        let output = mill().run().exits(1).prints(corpus.expected());
        let lines = output.stderr_lines();
        assert_eq!(lines.len(), 3, "{output:?}");
        let first = format!("ringmill: {}\\x00x: cannot open: ", corpus.names[0]);
        assert!(lines[0].starts_with(&first), "{output:?}");
        assert!(lines[1].starts_with("hint: "), "{output:?}");
        assert!(
            lines[2].starts_with("ringmill: \\x00: cannot open: "),
            "{output:?}"
        );
        let rows = rows::parse(&mill().args(["--format", "jsonl"]).run().exits(1).stdout);
        assert_eq!(rows.len(), 4);
        assert_eq!(rows[1].path, format!("{}\0x", corpus.names[0]).as_bytes());
        for row in &rows[1..3] {
            let (operation, errno, message) = row.error();
            assert_eq!((operation, errno), ("open", "-"));
            assert!(!message.is_empty());
        }
    });
}

#[test]
fn names_up_to_the_limit_and_beyond() {
    let corpus = Corpus::new(1);
    // A name of `length` bytes for the one file: ./././…f00000
    let dotted = |length: usize| {
        let name = corpus.names[0].as_str();
        let slash = if (length - name.len()).is_multiple_of(2) {
            ""
        } else {
            "/"
        };
        format!(
            "{}{slash}{name}",
            "./".repeat((length - name.len() - slash.len()) / 2)
        )
    };
    let names = [
        LONGEST_PATH - 1,
        LONGEST_PATH,
        LONGEST_PATH + 1,
        5000,
        70_000,
    ]
    .map(dotted);
    assert_eq!(names[1].len(), LONGEST_PATH);
    for_each_engine(|engine| {
        for (option, separator) in [(None, b'\n'), (Some("-0"), 0)] {
            let mill = || sha256(engine).dir(corpus.dir()).args(option);
            let mill = |names: &[String]| mill().stdin(list(names, separator));
            let output = mill(&names).args(["--format", "jsonl"]).run().exits(1);
            let rows = rows::parse(&output.stdout);
            assert_eq!(rows.len(), 5);
            assert_eq!(
                [rows[0].digest(), rows[1].digest()],
                [&corpus.digests[0]; 2]
            );
            for row in &rows[2..] {
                assert_eq!(row.error(), ("open", "ENAMETOOLONG", "File name too long"));
            }
            let digests = [&corpus.digests[0]; 2];
            mill(&names)
                .run()
                .exits(1)
                .prints(gnu_lines(&digests, &names[..2]));
        }
    });
}

/// It has one result and takes no memory: a line as long as that is not a valid name.
#[test]
fn a_line_of_50_megabytes() {
    let corpus = Corpus::new(2);
    let bulk = vec![b'x'; 1 << 20];
    for_each_engine(|engine| {
        for (option, separator) in [(None, b"\n"), (Some("-0"), b"\0")] {
            let mill = sha256(engine).dir(corpus.dir()).args(["--format", "jsonl"]);
            let mut mill = mill.args(option).stdin_pipe().start();
            mill.feed(&corpus.names[0]);
            mill.feed(separator);
            let first = mill.read_line();
            let before = mill.memory_kib("VmHWM");
            for _ in 0..50 {
                mill.feed(&bulk);
            }
            mill.feed(separator);
            mill.feed(&corpus.names[1]);
            mill.feed(separator);
            let rows = [first, mill.read_line(), mill.read_line()].concat();
            let grown = mill.memory_kib("VmHWM").saturating_sub(before);
            assert!(grown < 16 << 10, "a name of 50 MB has cost {grown} KiB");
            mill.finish().exits(1);
            let rows = rows::parse(&rows);
            assert_eq!(rows[0].digest(), corpus.digests[0]);
            assert_eq!(
                rows[1].error(),
                ("open", "ENAMETOOLONG", "File name too long")
            );
            assert_eq!(rows[2].digest(), corpus.digests[1]);
            assert_eq!(
                rows.iter().map(|row| row.index).collect::<Vec<_>>(),
                [0, 1, 2]
            );
        }
    });
}

#[test]
fn duplicates_are_items_of_their_own() {
    let corpus = Corpus::new(3);
    for_each_engine(|engine| {
        let mill = sha256(engine)
            .dir(corpus.dir())
            .stdin(corpus.list().repeat(1000));
        mill.run().succeeds().prints(corpus.expected().repeat(1000));
    });
}

/// In a list, `-` is not standard input, and nothing is an option.
#[test]
fn a_dash_in_a_list_is_a_file_name() {
    let scratch = Scratch::new();
    let names = ["-", "-a", "--help"];
    for name in names {
        scratch.file(name, name);
    }
    let digests = names.map(|name| peers::digest("sha256", name.as_bytes()));
    for_each_engine(|engine| {
        let mill = sha256(engine)
            .dir(scratch.path())
            .stdin(list(&names, b'\n'));
        mill.run().succeeds().prints(gnu_lines(&digests, &names));
    });
}

#[test]
fn arguments_are_items_in_their_order() {
    let corpus = Corpus::new(50);
    let backwards: Vec<&String> = corpus.names.iter().rev().collect();
    let digests: Vec<&String> = corpus.digests.iter().rev().collect();
    for_each_engine(|engine| {
        let mill = sha256(engine).dir(corpus.dir()).args(&backwards);
        mill.run()
            .succeeds()
            .prints(gnu_lines(&digests, &backwards));
    });
}

/// With arguments, standard input is not read, even if it never ends.
#[test]
fn arguments_leave_stdin_alone() {
    let corpus = Corpus::new(1);
    for_each_engine(|engine| {
        let mill = sha256(engine)
            .dir(corpus.dir())
            .arg(&corpus.names[0])
            .stdin_pipe();
        let mut mill = mill.start();
        eventually("it ends", Duration::from_secs(20), || mill.has_ended());
        mill.finish().succeeds().prints(corpus.expected());
    });
}

#[test]
fn arguments_and_lists_exclude_each_other() {
    for_each_engine(|engine| {
        let output = Mill::new(engine)
            .args(["--files-from", "/dev/null", "/dev/null"])
            .run();
        output.exits(2).prints("").mentions(&["--files-from"]);
    });
}

#[test]
fn a_terminal_on_stdin_gets_a_hint() {
    for_each_engine(|engine| {
        let (_controller, terminal) = terminal(80);
        let output = Mill::new(engine)
            .stdin_from(terminal)
            .run()
            .exits(2)
            .prints("");
        let hint = output.stderr_lines();
        assert!((1..=5).contains(&hint.len()), "a short hint: {output:?}");
        assert!(
            output.stderr_text().contains("ringmill hash"),
            "it says how: {output:?}"
        );
        output.mentions(&["ringmill: no files to hash\n"]);
    });
}

/// As `find -print0` writes them, without -0.
#[test]
fn a_nul_separated_list_without_its_option_gets_a_hint() {
    let corpus = Corpus::new(3);
    let cause = "cannot open: the name contains a NUL byte\n";
    let hint = "hint: the list is separated by NUL bytes; use -0\n";
    for_each_engine(|engine| {
        let two = [list(&corpus.names, 0), list(&corpus.names, 0)].join(&b'\n');
        let output = sha256(engine).dir(corpus.dir()).stdin(two).run().exits(1);
        let text = output.prints("").stderr_text();
        assert_eq!(text.matches(cause).count(), 2, "{text}");
        assert_eq!(text.matches(hint).count(), 1, "{text}");
        assert!(text.contains(&format!("{cause}{hint}")), "{text}");
        let resolver = "127.0.0.1:53".parse().unwrap();
        let dns = Mill::dns(engine, resolver).stdin("a.example\0b.example\0");
        dns.run().exits(1).complains(hint);
    });
}

#[test]
fn a_list_from_windows_gets_a_hint() {
    let corpus = Corpus::new(2);
    let list = corpus.names.iter().map(|name| format!("{name}\r\n"));
    let list: String = list.collect();
    for_each_engine(|engine| {
        let mill = || sha256(engine).dir(corpus.dir());
        let output = mill().stdin(list.clone()).run().exits(1);
        let text = output.prints("").stderr_text();
        let cause = "\\r: cannot open: No such file or directory\n";
        let hint = "hint: the lines of the list end with CR LF; ";
        assert!(text.contains(&format!("{cause}{hint}")), "{text}");
        assert_eq!(text.matches(hint).count(), 1, "{text}");
        // A name that ends with CR and was given as an argument gets no hint.
        let named = mill().arg("missing\r").run().exits(1);
        assert!(!named.stderr_text().contains("hint"), "{named:?}");
    });
}

#[test]
fn a_dash_as_an_argument_is_not_guessed_at() {
    let scratch = Scratch::new();
    scratch.file("-", "x");
    let mill = || Mill::auto().dir(scratch.path());
    let output = mill()
        .args(["-", "other"])
        .stdin("x")
        .run()
        .exits(2)
        .prints("");
    let hint =
        "hint: --files-from - reads a list from standard input; for a file named - write ./-\n";
    output.mentions(&[
        "ringmill: -: the content of standard input is not hashed\n",
        hint,
    ]);
    mill().arg("./-").run().succeeds();
}

/// The Rust runtime opens /dev/null in place of a closed stream, which would be an empty list.
#[test]
fn no_standard_input_is_an_error() {
    let corpus = Corpus::new(1);
    for_each_engine(|engine| {
        let hash = || sha256(engine).dir(corpus.dir()).close_stdin_before_start();
        let resolver = "127.0.0.1:53".parse().unwrap();
        for mill in [
            hash(),
            hash().args(["--files-from", "/dev/null", "--files-from", "-"]),
            Mill::dns(engine, resolver).close_stdin_before_start(),
        ] {
            let output = mill.run().exits(2).prints("");
            output.mentions(&["ringmill: standard input is closed\nhint: ringmill "]);
        }
        let named = hash().arg(&corpus.names[0]).run();
        named.succeeds().prints(corpus.expected());
    });
}

fn fails_because_of(output: Output, pieces: &[&str]) -> Output {
    assert!(
        matches!(output.status.code(), Some(1 | 2)),
        "a failure: {output:?}"
    );
    output.mentions(pieces)
}

#[test]
fn a_missing_list_is_not_an_empty_one() {
    let corpus = Corpus::new(2);
    for_each_engine(|engine| {
        let mill = || sha256(engine).dir(corpus.dir());
        let output = mill().args(["--files-from", "nowhere"]).run();
        fails_because_of(output, &["nowhere", "No such file or directory"]).prints("");
        let output = mill().args(["--files-from=-", "--files-from=nowhere"]);
        fails_because_of(output.stdin(corpus.list()).run(), &["nowhere"]);
    });
}

#[test]
fn a_directory_is_no_list() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.join("dir")).unwrap();
    for_each_engine(|engine| {
        let output = sha256(engine)
            .dir(scratch.path())
            .args(["--files-from", "dir"])
            .run();
        fails_because_of(output, &["dir", "Is a directory"]).prints("");
    });
}

/// The items before the error are processed, and then the error is reported.
#[test]
fn a_list_that_breaks_off_with_an_error() {
    let corpus = Corpus::new(400);
    let bytes = corpus.list();
    assert_eq!(bytes.len(), 2800);
    // After 200 whole names and a piece of the next one.
    let script = Script::new(bytes)
        .direct()
        .fails_read(200 * 7 + 3, Errno::EIO);
    for_each_engine(|engine| {
        let fuse = Mounted::new([("list", script.clone())]);
        let mill = sha256(engine)
            .dir(corpus.dir())
            .arg("--files-from")
            .arg(fuse.path("list"));
        let output = fails_because_of(mill.run(), &["list", "Input/output error"]);
        let lines: Vec<u8> = corpus
            .expected()
            .split_inclusive(|&b| b == b'\n')
            .take(200)
            .flatten()
            .copied()
            .collect();
        output.prints(lines);
    });
}
