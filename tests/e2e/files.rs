//! Kinds of files: those that cannot be opened, are not regular, are large or sparse, or are unusual.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::crc32c::crc32c_of_zeros_then;
use crate::support::rows::{self, Row};
use crate::support::tree::{Scratch, gnu_lines};
use crate::support::{Engine, Mill, eventually, for_each_engine, peers};

fn sha256(engine: Engine) -> Mill {
    Mill::new(engine).args(["-a", "sha256"])
}

/// Hashes one path; returns its row and the content of standard error.
fn row_of(engine: Engine, path: &Path, options: &[&str]) -> (Row, String) {
    let mill = sha256(engine)
        .args(["--format", "jsonl"])
        .args(options)
        .arg(path);
    let output = mill.run();
    let mut rows = rows::parse(&output.stdout);
    assert_eq!(rows.len(), 1, "one row for one item: {output:?}");
    let text = output.stderr_text();
    let row = rows.remove(0);
    let code = if matches!(row.outcome, rows::Outcome::Digest { .. }) {
        0
    } else {
        1
    };
    output.exits(code);
    (row, text)
}

#[test]
fn failures_are_reported_and_the_rest_is_hashed() {
    let scratch = Scratch::new();
    scratch.file("good", "good");
    scratch.file("also good", "also good");
    fs::create_dir(scratch.join("dir")).unwrap();
    symlink("nowhere", scratch.join("dangling")).unwrap();
    symlink("loop2", scratch.join("loop1")).unwrap();
    symlink("loop1", scratch.join("loop2")).unwrap();
    symlink("good", scratch.join("link")).unwrap();
    let names = [
        "missing",
        "good",
        "dir",
        "dangling",
        "loop1",
        "link",
        "good/x",
        "also good",
    ];
    let good = ["good", "link", "also good"];
    let digests =
        ["good", "good", "also good"].map(|text| peers::digest("sha256", text.as_bytes()));
    let complaints = "ringmill: missing: cannot open: No such file or directory\n\
         ringmill: dir: cannot read: Is a directory\n\
         hint: `find DIR -type f -print0 | ringmill hash -0` hashes the files of a directory\n\
         ringmill: dangling: cannot open: No such file or directory\n\
         ringmill: loop1: cannot open: Too many levels of symbolic links\n\
         ringmill: good/x: cannot open: Not a directory\n";
    for_each_engine(|engine| {
        let output = sha256(engine)
            .dir(scratch.path())
            .args(names)
            .run()
            .exits(1);
        output
            .prints(gnu_lines(&digests, &good))
            .complains(complaints);
    });
}

#[test]
fn every_failure_has_its_errno() {
    let scratch = Scratch::new();
    scratch.file("file", "");
    fs::create_dir(scratch.join("dir")).unwrap();
    symlink("loop", scratch.join("loop")).unwrap();
    for_each_engine(|engine| {
        let error = |name: &str| {
            let (row, _) = row_of(engine, &scratch.join(name), &[]);
            let (operation, errno, message) = row.error();
            [operation, errno, message].join("|")
        };
        assert_eq!(error("missing"), "open|ENOENT|No such file or directory");
        assert_eq!(error("dir"), "read|EISDIR|Is a directory");
        assert_eq!(error("file/x"), "open|ENOTDIR|Not a directory");
        assert_eq!(
            error("loop"),
            "open|ELOOP|Too many levels of symbolic links"
        );
        let long = "n".repeat(256);
        assert_eq!(error(&long), "open|ENAMETOOLONG|File name too long");
    });
}

#[test]
fn files_without_permission_to_read() {
    let scratch = Scratch::new();
    let secret = scratch.file("secret", "secret");
    fs::set_permissions(secret, fs::Permissions::from_mode(0o000)).unwrap();
    let open = scratch.file("open", "open");
    fs::set_permissions(open, fs::Permissions::from_mode(0o644)).unwrap();
    fs::create_dir(scratch.join("closed")).unwrap();
    scratch.file("closed/file", "");
    fs::set_permissions(scratch.join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    let digest = peers::digest("sha256", b"open");
    for_each_engine(|engine| {
        let mill = sha256(engine).dir(scratch.path()).uid(58_001);
        let output = mill.args(["secret", "open", "closed/file"]).run().exits(1);
        output.prints(format!("{digest}  open\n")).complains(
            "ringmill: secret: cannot open: Permission denied\n\
             ringmill: closed/file: cannot open: Permission denied\n",
        );
    });
}

/// Kills and reaps a helper process.
struct Helper(Child);

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Files without a size that return a page at a time, and files that claim a page and return a line.
#[test]
fn proc_and_sys() {
    // A process whose environment and arguments fill many pages, as a file that stays as it is.
    let bulk: Vec<String> = (0..2000)
        .map(|n| format!("argument {n} of a long list"))
        .collect();
    let sleeper = Command::new("sleep")
        .args(["1000", "--"])
        .args(bulk.iter().map(|_| "0"))
        .envs(
            bulk.iter()
                .enumerate()
                .map(|(n, text)| (format!("VARIABLE_{n}"), text)),
        )
        .stdin(Stdio::null())
        .spawn()
        .expect("sleep");
    let pid = sleeper.id();
    let _sleeper = Helper(sleeper);
    eventually("exec", Duration::from_secs(10), || {
        fs::read(format!("/proc/{pid}/environ")).is_ok_and(|text| text.len() > 40_000)
    });
    let candidates = [
        format!("/proc/{pid}/environ"),
        format!("/proc/{pid}/cmdline"),
        "/proc/version".to_owned(),
        "/proc/cmdline".to_owned(),
        "/proc/filesystems".to_owned(),
        "/proc/crypto".to_owned(),
        "/proc/kallsyms".to_owned(),
        "/proc/sys/kernel/ostype".to_owned(),
        "/sys/kernel/mm/transparent_hugepage/enabled".to_owned(),
        "/sys/devices/system/cpu/online".to_owned(),
        "/sys/kernel/btf/vmlinux".to_owned(),
        "/sys/kernel/notes".to_owned(),
    ];
    let read = |path: &str| fs::read(path).ok();
    let files: Vec<(&String, Vec<u8>)> = candidates
        .iter()
        .filter_map(|path| Some((path, read(path)?)))
        .filter(|(path, content)| read(path).as_ref() == Some(content))
        .collect();
    assert!(
        files.iter().any(|(path, _)| path.starts_with("/sys")),
        "no file under /sys"
    );
    assert!(
        files.iter().any(|(_, content)| content.len() > 40_000),
        "no file of many pages"
    );
    let paths: Vec<&String> = files.iter().map(|(path, _)| *path).collect();
    let digests: Vec<String> = files
        .iter()
        .map(|(_, content)| peers::digest("sha256", content))
        .collect();
    for_each_engine(|engine| {
        sha256(engine)
            .args(&paths)
            .run()
            .succeeds()
            .prints(gnu_lines(&digests, &paths));
        let mill = sha256(engine).args(["--format", "jsonl"]).args(&paths);
        for (row, (path, content)) in rows::parse(&mill.run().succeeds().stdout)
            .iter()
            .zip(&files)
        {
            assert_eq!(
                row.size(),
                content.len() as u64,
                "{path}: what was read counts"
            );
            assert!(!row.changed(), "{path}");
        }
    });
}

#[test]
fn sizes_around_every_border() {
    let scratch = Scratch::new();
    let borders = [
        1 << 9,
        1 << 12,
        1 << 16,
        1 << 17,
        1 << 18,
        1 << 20,
        1 << 21,
        3 << 20,
    ];
    let names: Vec<String> = borders
        .into_iter()
        .flat_map(|border: usize| [border - 1, border, border + 1])
        .chain([0, 1])
        .map(|size| {
            let name = format!("{size} bytes");
            scratch.file(&name, vec![size as u8; size]);
            name
        })
        .collect();
    let slices: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
    let digests = peers::digests("xxh3", scratch.path(), &slices);
    for_each_engine(|engine| {
        let mill = Mill::new(engine)
            .dir(scratch.path())
            .args(["-a", "xxh3"])
            .args(&names);
        mill.run().succeeds().prints(gnu_lines(&digests, &names));
    });
}

/// A hole of `size` bytes, then `tail`.
fn sparse(scratch: &Scratch, name: &str, size: u64, tail: &[u8]) {
    let mut file = File::create(scratch.join(name)).unwrap();
    file.seek(SeekFrom::Start(size)).unwrap();
    file.write_all(tail).unwrap();
}

#[test]
fn sparse_files() {
    let scratch = Scratch::new();
    sparse(&scratch, "hole", 100 << 20, b"end");
    let all_hole = File::create(scratch.join("all hole")).unwrap();
    all_hole.set_len(10 << 20).unwrap();
    let names = ["hole", "all hole"];
    let slices = names.map(str::as_bytes);
    let digests = peers::digests("blake3", scratch.path(), &slices);
    for_each_engine(|engine| {
        let mill = Mill::new(engine).dir(scratch.path()).args(names);
        mill.run().succeeds().prints(gnu_lines(&digests, &names));
    });
}

/// Sizes and offsets need more than 32 bits.
#[test]
fn a_file_beyond_4_gib() {
    let scratch = Scratch::new();
    let hole = (4 << 30) + (3 << 20);
    sparse(&scratch, "big", hole, b"the end");
    let blake3 = peers::digests("blake3", scratch.path(), &[b"big"]).remove(0);
    for_each_engine(|engine| {
        let mill = Mill::new(engine)
            .dir(scratch.path())
            .deadline(Duration::from_secs(120));
        let mill = mill.args(["--format", "jsonl", "big"]);
        let rows = rows::parse(&mill.run().succeeds().stdout);
        assert_eq!(
            (rows[0].digest(), rows[0].size()),
            (blake3.as_str(), hole + 7)
        );
    });
    let crc32c = format!("{:08x}", crc32c_of_zeros_then(hole, b"the end"));
    let mill = Mill::auto()
        .dir(scratch.path())
        .deadline(Duration::from_secs(120));
    let output = mill.args(["-a", "crc32c", "big"]).run().succeeds();
    output.prints(format!("{crc32c}  big\n"));
}

pub(crate) fn mkfifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("mkfifo");
}

/// Special files are neither opened nor read: the data in a pipe is for another reader, and /dev/zero
/// has no end.
#[test]
fn special_files_are_failures() {
    let scratch = Scratch::new();
    let fifo = scratch.join("fifo");
    mkfifo(&fifo);
    let socket = scratch.join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    let cases = [
        (fifo.as_path(), "FIFO"),
        (socket.as_path(), "socket"),
        (Path::new("/dev/zero"), "device"),
        (Path::new("/dev/full"), "device"),
        (Path::new("/dev/null"), "device"),
    ];
    for_each_engine(|engine| {
        for (path, kind) in cases {
            for options in [&[][..], &["--special", "error"]] {
                let (row, stderr) = row_of(engine, path, options);
                let (operation, errno, message) = row.error();
                assert_eq!((operation, errno), ("open", "-"), "{}", path.display());
                assert!(message.contains(kind), "{}: {message}", path.display());
                let line = format!("ringmill: {}: ", path.display());
                assert!(
                    stderr.starts_with(&line) && stderr.contains(message),
                    "{stderr}"
                );
                assert_eq!(stderr.lines().count(), 1, "{stderr}");
            }
        }
        let (_, stderr) = row_of(engine, &fifo, &[]);
        assert!(stderr.contains("--special read"), "it says how: {stderr}");
    });
}

/// A writer waits in open(2) for a reader. Even our non-blocking open would wake it, and its data would
/// be lost.
#[test]
fn a_skipped_fifo_keeps_its_writer() {
    for_each_engine(|engine| {
        let scratch = Scratch::new();
        let fifo = scratch.join("fifo");
        mkfifo(&fifo);
        let (sender, progress) = mpsc::channel();
        let path = fifo.clone();
        let writer = thread::spawn(move || {
            sender.send(rustix::thread::gettid()).unwrap();
            let mut fifo = File::options()
                .write(true)
                .open(path)
                .expect("open for writing");
            sender.send(rustix::thread::gettid()).unwrap();
            fifo.write_all(b"precious")
        });
        let thread = progress.recv().unwrap().as_raw_nonzero();
        let status = format!("/proc/self/task/{thread}/status");
        eventually("the writer sleeps in open", Duration::from_secs(10), || {
            fs::read_to_string(&status).is_ok_and(|text| text.contains("State:\tS"))
        });
        for _ in 0..20 {
            row_of(engine, &fifo, &[]).0.error();
        }
        assert!(progress.try_recv().is_err(), "the writer was let through");
        let mut data = String::new();
        File::open(&fifo)
            .unwrap()
            .read_to_string(&mut data)
            .unwrap();
        writer.join().unwrap().expect("the writer writes");
        assert_eq!(data, "precious");
    });
}

#[test]
fn a_fifo_is_read_on_request() {
    // More than a pipe holds, and in pieces.
    let data: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    let digest = peers::digest("sha256", &data);
    for_each_engine(|engine| {
        let scratch = Scratch::new();
        let fifo = scratch.join("fifo");
        mkfifo(&fifo);
        let (path, bytes) = (fifo.clone(), data.clone());
        let writer = thread::spawn(move || {
            let mut fifo = File::options()
                .write(true)
                .open(path)
                .expect("open for writing");
            for piece in bytes.chunks(10_007) {
                fifo.write_all(piece).expect("ringmill reads it");
            }
        });
        let (row, stderr) = row_of(engine, &fifo, &["--special", "read"]);
        writer.join().unwrap();
        assert_eq!((row.digest(), row.size()), (digest.as_str(), 300_000));
        assert_eq!(stderr, "");
    });
}

#[test]
fn devices_and_sockets_on_request() {
    let scratch = Scratch::new();
    let socket = scratch.join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    assert!(fs::metadata(&socket).unwrap().file_type().is_socket());
    let nothing = peers::digest("sha256", b"");
    for_each_engine(|engine| {
        let (row, _) = row_of(engine, Path::new("/dev/null"), &["--special", "read"]);
        assert_eq!((row.digest(), row.size()), (nothing.as_str(), 0));
        let (row, _) = row_of(engine, &socket, &["--special", "read"]);
        assert_eq!(row.error(), ("open", "ENXIO", "No such device or address"));
    });
}
