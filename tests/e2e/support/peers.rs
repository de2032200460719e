//! Third-party tools, as oracles for our digests and our formats.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;

use super::crc32c::crc32c;
use super::show;

/// The algorithms of `ringmill hash`, by their names on its command line.
pub const ALGORITHMS: [&str; 8] = [
    "blake3", "sha256", "sha512", "sha1", "md5", "xxh3", "xxh128", "crc32c",
];

/// The name that `--tag` prints.
pub fn tag(algorithm: &str) -> String {
    algorithm.to_uppercase()
}

/// Runs a tool; the test fails if it is missing or fails.
#[track_caller]
pub fn run(tool: &str, args: &[&OsStr], dir: &Path, stdin: &[u8]) -> Output {
    let mut command = Command::new(tool);
    command.args(args).current_dir(dir).env("LC_ALL", "C");
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{tool}: {error}; scripts/test installs what is needed"));
    let mut pipe = child.stdin.take().expect("a pipe");
    thread::scope(|scope| {
        // The tool may end before it has read everything.
        scope.spawn(move || drop(pipe.write_all(stdin)));
        let output = child.wait_with_output().expect("output of a peer tool");
        assert!(
            output.status.success(),
            "{tool}: {}\n{}",
            output.status,
            show(&output.stderr)
        );
        output
    })
}

/// Runs a command with these names as its last arguments.
#[track_caller]
pub fn over(command: &str, dir: &Path, names: &[&[u8]]) -> Vec<u8> {
    let mut words = command.split(' ');
    let tool = words.next().expect("a tool");
    let args: Vec<&OsStr> = words
        .map(OsStr::new)
        .chain(names.iter().map(|name| OsStr::from_bytes(name)))
        .collect();
    run(tool, &args, dir, b"").stdout
}

/// The digest of some bytes.
#[track_caller]
pub fn digest(algorithm: &str, bytes: &[u8]) -> String {
    let (tool, args): (&str, &[&str]) = match algorithm {
        "crc32c" => return format!("{:08x}", crc32c(bytes)),
        "blake3" => ("b3sum", &["--no-names"]),
        "xxh3" => ("xxhsum", &["-H3", "--tag"]),
        "xxh128" => ("xxhsum", &["-H2", "--tag"]),
        "sha256" => ("sha256sum", &[]),
        "sha512" => ("sha512sum", &[]),
        "sha1" => ("sha1sum", &[]),
        "md5" => ("md5sum", &[]),
        other => panic!("unknown algorithm {other}"),
    };
    let args: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
    let stdout = run(tool, &args, Path::new("/"), bytes).stdout;
    let text = String::from_utf8(stdout).expect("ASCII");
    let text = text.trim_end().trim_end_matches("  -");
    text.rsplit(' ').next().unwrap_or_default().to_owned()
}

/// The digests of files, in the order of their names.
#[track_caller]
pub fn digests(algorithm: &str, dir: &Path, names: &[&[u8]]) -> Vec<String> {
    let digests: Vec<String> = match algorithm {
        "crc32c" => names
            .iter()
            .map(|name| format!("{:08x}", crc32c(&super::tree::read_at(dir, name))))
            .collect(),
        "blake3" => {
            let printed = over("b3sum --no-names --", dir, names);
            String::from_utf8(printed)
                .expect("ASCII")
                .lines()
                .map(str::to_owned)
                .collect()
        }
        "xxh3" => xxhsum_digests("-H3", "XXH3", dir, names),
        "xxh128" => xxhsum_digests("-H2", "XXH128", dir, names),
        sha => {
            let printed = over(&format!("{sha}sum -z --"), dir, names);
            let lines = printed
                .strip_suffix(b"\0")
                .unwrap_or_default()
                .split(|&byte| byte == 0);
            lines
                .map(|line| line.split(|&b| b == b' ').next().unwrap_or_default())
                .map(hex)
                .collect()
        }
    };
    assert_eq!(
        digests.len(),
        names.len(),
        "the oracle for {algorithm} has lost lines"
    );
    digests
}

/// xxhsum (0.8.1) escapes nothing, so its lines are found by the known names.
fn xxhsum_digests(option: &str, tag: &str, dir: &Path, names: &[&[u8]]) -> Vec<String> {
    // It also takes `-name` for an option, at any position.
    let safe: Vec<Vec<u8>> = names
        .iter()
        .map(|name| {
            if name.starts_with(b"-") {
                [b"./", *name].concat()
            } else {
                name.to_vec()
            }
        })
        .collect();
    let args: Vec<&[u8]> = safe.iter().map(Vec::as_slice).collect();
    let printed = over(&format!("xxhsum {option} --tag"), dir, &args);
    let mut rest = printed.as_slice();
    let mut digests = Vec::new();
    for name in &args {
        let head = [tag.as_bytes(), b" (", name, b") = "].concat();
        rest = rest.strip_prefix(head.as_slice()).unwrap_or_else(|| {
            panic!(
                "xxhsum prints {} where {} is expected",
                show(rest),
                show(&head)
            )
        });
        let end = rest.iter().position(|&byte| byte == b'\n').expect("a line");
        digests.push(hex(&rest[..end]));
        rest = &rest[end + 1..];
    }
    digests
}

fn hex(digits: &[u8]) -> String {
    // coreutils puts a backslash before the digest of a name that it has escaped.
    let digits = digits.strip_prefix(b"\\").unwrap_or(digits);
    String::from_utf8(digits.to_vec()).expect("hex digits")
}
