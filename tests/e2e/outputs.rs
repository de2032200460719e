//! Outputs destroy neither inputs nor one another, and a document replaces an old one only when it is
//! complete.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};
use rustix::process::Signal;
use serde_json::Value;

use crate::files::mkfifo;
use crate::forbidden;
use crate::support::crc32c::crc32c;
use crate::support::tree::Scratch;
use crate::support::{Mill, Output, Running, eventually, for_each_engine, require_root};

/// The contents of files by name, without files that cannot be read to the end.
fn contents(dir: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    let files = entries.filter(|entry| entry.path().is_file());
    files
        .map(|entry| (entry.file_name(), fs::read(entry.path()).unwrap()))
        .collect()
}

/// Runs a command that is refused. No file changes, and none is left behind.
#[track_caller]
fn refused(scratch: &Scratch, mill: Mill) -> Output {
    let before = contents(scratch.path());
    let output = mill.dir(scratch.path()).run().exits(2).prints("");
    assert_eq!(contents(scratch.path()), before, "{output:?}");
    output
}

/// A directory with a file, a list that names it, and other names for both.
fn files() -> Scratch {
    let scratch = Scratch::new();
    scratch.file("data", "content");
    scratch.file("other", "other content");
    scratch.file("list", "data\n");
    scratch.file("servers", "127.0.0.1:1\n");
    symlink("list", scratch.join("symlink")).unwrap();
    fs::hard_link(scratch.join("data"), scratch.join("hard-link")).unwrap();
    scratch
}

fn run_log(scratch: &Scratch, name: &str) {
    let mill = Mill::auto()
        .dir(scratch.path())
        .args(["other", "--hlog", name]);
    mill.run().exits(0);
}

/// What `ringmill hash -a crc32c` prints for a file.
fn line(content: &str, name: &str) -> String {
    format!("{:08x}  {name}\n", crc32c(content.as_bytes()))
}

#[test]
fn no_output_is_an_input() {
    let scratch = files();
    run_log(&scratch, "run.hlog");
    fs::hard_link(scratch.join("data"), scratch.join("run.read.hgrm")).unwrap();
    let from_list = ["hash", "--files-from", "list"];
    let cases: [(&[&str], &[&str], &str); 13] = [
        (
            &from_list,
            &["-o", "list"],
            "-o list: the same file as the list list",
        ),
        (
            &from_list,
            &["-o", "symlink"],
            "-o symlink: the same file as the list list",
        ),
        (
            &from_list,
            &["--stats", "./list"],
            "--stats ./list: the same file as the list list",
        ),
        (
            &from_list,
            &["--hlog", "list"],
            "--hlog list: the same file as the list list",
        ),
        (
            &["hash", "data"],
            &["-o", "data"],
            "-o data: the same file as the input data",
        ),
        (
            &["hash", "data"],
            &["-o", "hard-link"],
            "-o hard-link: the same file as the input data",
        ),
        (
            &["hash", "other", "data"],
            &["--hlog", "data"],
            "--hlog data: the same file as the input data",
        ),
        (
            &["hash", "data"],
            &["--hgrm", "other", "--hgrm-phase", "total", "other"],
            "--hgrm other: the same file as the input other",
        ),
        (
            &["hash", "data"],
            &["--hgrm", "run.hgrm"],
            "--hgrm run.read.hgrm: the same file as the input data",
        ),
        (
            &["dns", "--resolvers", "servers", "a.test"],
            &["-o", "servers"],
            "-o servers: the same file as --resolvers servers",
        ),
        (
            &["plot", "run.hlog"],
            &["-o", "run.hlog"],
            "-o run.hlog: the same file as the input run.hlog",
        ),
        (
            &["plot", "run.hlog"],
            &["--text", "-o", "run.hlog"],
            "-o run.hlog: the same file as",
        ),
        (
            &["merge", "run.hlog"],
            &["--hlog", "run.hlog"],
            "--hlog run.hlog: the same file as the input",
        ),
    ];
    for (command, output, message) in cases {
        let mill = Mill::bare().args(command).args(output);
        let output = refused(&scratch, mill);
        output.mentions(&[&format!("ringmill: {message}"), ", which would be lost\n"]);
    }
    let stdin = || File::open(scratch.join("list")).unwrap();
    for list in [&[][..], &["--files-from", "-"]] {
        let mill = Mill::auto()
            .args(list)
            .args(["-o", "list"])
            .stdin_from(stdin());
        let output = refused(&scratch, mill);
        output
            .complains("ringmill: -o list: the same file as standard input, which would be lost\n");
    }
    let mill = Mill::auto().args(["--files-from", "/dev/stdin", "-o", "list"]);
    refused(&scratch, mill.stdin_from(stdin())).mentions(&["the same file as the list /dev/stdin"]);
}

/// Rows that are appended to the list would be read as names, without an end.
#[test]
fn standard_output_is_not_the_list() {
    let scratch = files();
    for list in [&["--files-from", "list"][..], &[]] {
        let append = File::options().append(true).open(scratch.join("list"));
        let mill = Mill::auto().args(list).dir(scratch.path());
        let mill = mill.stdin_from(File::open(scratch.join("list")).unwrap());
        let output = mill.stdout_to(append.unwrap()).run().exits(2);
        output.mentions(&[
            "ringmill: standard output: the same file as ",
            "would read its own output",
        ]);
        assert_eq!(fs::read(scratch.join("list")).unwrap(), b"data\n");
    }
}

#[test]
fn outputs_are_different_files() {
    let scratch = files();
    fs::create_dir(scratch.join("directory")).unwrap();
    symlink("directory/new", scratch.join("link-to-new")).unwrap();
    fs::hard_link(scratch.join("other"), scratch.join("other-link")).unwrap();
    let cases: [(&[&str], &str); 6] = [
        (
            &["-o", "new", "--stats", "new"],
            "--stats new: the same file as -o new",
        ),
        (
            &["-o", "other", "--stats", "other"],
            "--stats other: the same file as -o other",
        ),
        (
            &["-o", "other", "--hlog", "other-link"],
            "--hlog other-link: the same file as -o other",
        ),
        (
            &["--hlog", "link-to-new", "--stats", "./directory/new"],
            "--stats ./directory/new: the same file as --hlog link-to-new",
        ),
        (
            &["-o", "run.total.hgrm", "--hgrm", "run.hgrm"],
            "--hgrm run.total.hgrm: the same file as -o run.total.hgrm",
        ),
        (
            &["--stats", "run", "--hgrm", "run", "--hgrm-phase", "total"],
            "--hgrm run: the same file as --stats run",
        ),
    ];
    for (outputs, message) in cases {
        let output = refused(&scratch, Mill::auto().arg("data").args(outputs));
        output.complains(format!(
            "ringmill: {message}, which would be lost\nhint: each output needs a file of its own\n"
        ));
    }
    let redirected = File::options()
        .write(true)
        .open(scratch.join("other"))
        .unwrap();
    let mill = Mill::auto().args(["data", "--stats", "other"]);
    let mill = mill.dir(scratch.path()).stdout_to(redirected);
    mill.run()
        .exits(2)
        .mentions(&["--stats other: the same file as standard output"]);
}

/// Devices without content can be shared: nothing is lost.
#[test]
fn devices_are_shared() {
    let scratch = files();
    let devices = ["-o", "--stats", "--hlog"].map(|option| [option, "/dev/null"]);
    let mill = Mill::auto().dir(scratch.path()).args(devices.concat());
    mill.args(["--files-from", "/dev/null"]).run().succeeds();
    let mill = Mill::auto()
        .dir(scratch.path())
        .args(["-a", "crc32c", "data"]);
    let mill = mill.args(["-o", "/dev/stderr", "--stats", "/dev/stderr"]);
    let output = mill.run().exits(0).prints("");
    output.mentions(&[&line("content", "data"), "\"end\": \"complete\""]);
}

/// A block device has content, whichever of its names is used.
#[test]
fn a_block_device_is_not_overwritten_either() {
    require_root();
    let scratch = Scratch::new();
    // No driver has this number, so an attempt to open the device would show.
    for name in ["device", "same-device"] {
        let device = makedev(120, 77);
        let mode = Mode::from_raw_mode(0o600);
        mknodat(CWD, scratch.join(name), FileType::BlockDevice, mode, device).expect("mknod");
    }
    let mill = Mill::auto().args(["--special", "read", "device", "-o", "same-device"]);
    refused(&scratch, mill).mentions(&["-o same-device: the same file as the input device"]);
}

/// A name from a list is found to be an output when it is opened.
#[test]
fn a_listed_file_that_is_written_is_a_failure_of_its_own() {
    for_each_engine(|engine| {
        let scratch = files();
        scratch.file("stats", "an old document");
        let expected = line("content", "data") + &line("other content", "other");
        let list = "data\nsums\nstats\nlog\nother\n";
        let outputs = ["-o", "sums", "--stats", "stats", "--hlog", "log"];
        let hash = || Mill::new(engine).dir(scratch.path()).args(["-a", "crc32c"]);
        let output = hash().args(outputs).stdin(list).run().exits(1).prints("");
        output.complains(
            "ringmill: sums: cannot open: is the output of this run\n\
             ringmill: stats: cannot open: is the output of this run\n\
             ringmill: log: cannot open: is the output of this run\n",
        );
        assert_eq!(fs::read_to_string(scratch.join("sums")).unwrap(), expected);
        let document: Value =
            serde_json::from_slice(&fs::read(scratch.join("stats")).unwrap()).unwrap();
        let failures = &document["counters"]["failed_by_cause"];
        assert_eq!(failures["output-file"], 3, "{document}");
        let redirected = File::create(scratch.join("sums")).unwrap();
        let output = hash()
            .stdin("data\nsums\nother\n")
            .stdout_to(redirected)
            .run()
            .exits(1);
        output.complains("ringmill: sums: cannot open: is the output of this run\n");
        assert_eq!(fs::read_to_string(scratch.join("sums")).unwrap(), expected);
        // As an argument: the file did not exist before.
        let output = hash()
            .args(["--format", "jsonl", "new", "-o", "new"])
            .run()
            .exits(1);
        output.mentions(&["new: cannot open: is the output of this run"]);
        let row: Value = serde_json::from_slice(&fs::read(scratch.join("new")).unwrap()).unwrap();
        assert_eq!(row["error"]["code"], "output-file");
    });
}

#[test]
fn nothing_is_emptied_before_all_options_are_found_good() {
    let scratch = files();
    let mut cases = vec![
        (
            vec!["--stats", "missing/stats"],
            "missing/stats: cannot open for writing: No such file",
        ),
        (
            vec!["--hlog", "missing/log"],
            "missing/log: cannot open for writing: No such file",
        ),
        (
            vec!["--hgrm", "missing/run.hgrm"],
            "missing/run.queue.hgrm: cannot open for writing",
        ),
        (
            vec!["--stats", "."],
            ".: cannot open for writing: Is a directory",
        ),
        (
            vec!["--stats", "new/"],
            "new/: cannot open for writing: Is a directory",
        ),
        (
            vec!["--hgrm", "run.hgrm", "--hgrm-phase", "tls"],
            "--hgrm-phase tls: no such phase",
        ),
        (
            vec!["--hlog", "/dev/full"],
            "/dev/full: cannot write: No space left on device",
        ),
    ];
    cases.push((vec!["--hgrm", "-"], "--hgrm -: the phases would mix"));
    for (options, message) in cases {
        for rows in ["other", "new"] {
            let mill = Mill::auto().args(["data", "-o", rows]).args(&options);
            refused(&scratch, mill).mentions(&[message]);
        }
    }
    for rows in ["other", "new"] {
        let mill = Mill::auto().args(["data", "-o", rows, "--engine", "uring"]);
        let mill = mill.seccomp(forbidden::refuse(rustix::io::Errno::PERM));
        refused(&scratch, mill).mentions(&["hint: --engine threads does not need io_uring"]);
        let mill = Mill::bare().args(["dns", "-r", "127.0.0.1:1", "a.test", "-o", rows]);
        let mill = mill.limit(rustix::process::Resource::Nofile, 8, 8);
        refused(&scratch, mill).mentions(&["leaves no sockets"]);
    }
}

#[test]
fn a_directory_that_is_not_ours_takes_no_new_file() {
    let scratch = Scratch::new();
    scratch.file("data", "content");
    for option in ["-o", "--stats", "--hlog"] {
        let mill = Mill::auto().args(["data", option, "new"]).uid(58_020);
        refused(&scratch, mill).mentions(&["new: cannot open for writing: Permission denied"]);
    }
}

/// The inode number of a file, its permissions and its owner.
fn identity(path: &Path) -> (u64, u32, u32) {
    let metadata = fs::symlink_metadata(path).unwrap();
    (metadata.ino(), metadata.mode() & 0o7777, metadata.uid())
}

/// A process that has the old document open still sees it; the new one has the same permissions.
#[test]
fn documents_are_replaced_as_a_whole() {
    require_root();
    let scratch = files();
    run_log(&scratch, "run.hlog");
    fs::create_dir(scratch.join("real")).unwrap();
    let commands: [&[&str]; 5] = [
        &["hash", "data", "-o", "sums", "--stats", "document"],
        &[
            "hash",
            "data",
            "-o",
            "sums",
            "--hgrm",
            "document",
            "--hgrm-phase",
            "total",
        ],
        &["plot", "run.hlog", "-o", "document"],
        &["merge", "run.hlog", "--hlog", "document"],
        &["merge", "run.hlog", "--stats", "document"],
    ];
    for command in commands {
        let real = scratch.file("real/document", "old");
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        chown(&real, Some(58_021), None).unwrap();
        let link = scratch.join("document");
        let _ = fs::remove_file(&link);
        symlink("real/document", &link).unwrap();
        let mut old = File::open(&real).unwrap();
        let before = identity(&real);
        let mill = Mill::bare().dir(scratch.path()).args(command);
        mill.run().succeeds().prints("");
        let after = identity(&real);
        assert_ne!(after.0, before.0, "{command:?}: a new file");
        assert_eq!((after.1, after.2), (0o640, 58_021), "{command:?}");
        assert!(fs::read(&real).unwrap().len() > 3, "{command:?}");
        assert!(link.is_symlink(), "{command:?}");
        let mut text = String::new();
        old.read_to_string(&mut text).unwrap();
        assert_eq!(text, "old", "{command:?}");
        for directory in [scratch.path(), &scratch.join("real")] {
            let names = contents(directory).into_keys();
            let left: Vec<_> = names
                .filter(|name| name.to_string_lossy().contains("tmp"))
                .collect();
            assert!(left.is_empty(), "{command:?}: {left:?}");
        }
        fs::remove_file(&real).unwrap();
        // Through the link, which now leads nowhere.
        let mill = Mill::bare().dir(scratch.path()).args(command);
        mill.run().succeeds();
        assert_eq!(identity(&real).1, 0o666 & !umask(), "{command:?}");
    }
    // Rows and the log of a run are written as they come, into the existing file.
    let kept = ["sums", "run.hlog"].map(|name| scratch.join(name));
    let before = kept.each_ref().map(|path| identity(path));
    let mill = Mill::auto().dir(scratch.path()).arg("data");
    mill.args(["-o", "sums", "--hlog", "run.hlog"])
        .run()
        .succeeds();
    assert_eq!(kept.each_ref().map(|path| identity(path)), before);
}

fn umask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    u32::from_str_radix(line.unwrap().trim(), 8).unwrap()
}

/// Where a file cannot be replaced, it is overwritten: in another user's directory, and as a mount
/// point.
#[test]
fn a_document_that_cannot_be_replaced_is_overwritten() {
    require_root();
    let scratch = Scratch::new();
    scratch.file("data", "content");
    let document = scratch.file("document", "old");
    chown(&document, Some(58_022), None).unwrap();
    let before = identity(&document);
    let stats = || {
        Mill::auto()
            .dir(scratch.path())
            .args(["data", "-o", "/dev/null", "--stats", "document"])
    };
    stats().uid(58_022).run().succeeds();
    assert_eq!(identity(&document), before);
    assert!(
        fs::read_to_string(&document)
            .unwrap()
            .contains("\"complete\"")
    );
    let mounted = scratch.file("mounted", "old");
    mount_bind(&mounted, &document).expect("a bind mount");
    let output = stats().run();
    unmount(&document, UnmountFlags::DETACH).expect("unmount");
    output.succeeds();
    assert!(
        fs::read_to_string(&mounted)
            .unwrap()
            .contains("\"complete\"")
    );
}

#[test]
fn a_full_disk_leaves_the_old_document() {
    require_root();
    let scratch = Scratch::new();
    scratch.file("data", "content");
    let disk = scratch.join("disk");
    fs::create_dir(&disk).unwrap();
    mount(c"none", &disk, c"tmpfs", MountFlags::empty(), c"size=8k").expect("mount");
    fs::write(disk.join("stats"), "old").unwrap();
    fs::write(disk.join("ballast"), [0; 4096]).unwrap();
    let mill = Mill::auto()
        .dir(scratch.path())
        .args(["data", "-o", "sums"]);
    let output = mill.args(["--stats", "disk/stats", "--bins"]).run();
    let left = contents(&disk);
    unmount(&disk, UnmountFlags::DETACH).expect("unmount");
    output
        .exits(2)
        .mentions(&["disk/stats: cannot write: No space left on device"]);
    assert_eq!(left[&OsString::from("stats")], b"old");
    assert_eq!(left.len(), 2, "{:?}", left.keys());
}

fn waits_for_a_reader(mill: &Running) {
    let call = format!("/proc/{}/wchan", mill.pid());
    eventually("it waits", Duration::from_secs(20), || {
        fs::read_to_string(&call).is_ok_and(|call| call.contains("wait_for_partner"))
    });
}

/// An open of a FIFO for writing waits for a reader, which may never come.
#[test]
fn a_signal_ends_the_wait_for_a_reader() {
    for_each_engine(|engine| {
        let scratch = files();
        mkfifo(&scratch.join("fifo"));
        let phase = ["--hgrm-phase", "total"];
        for signal in [Signal::INT, Signal::TERM] {
            for option in ["-o", "--stats", "--hlog", "--hgrm"] {
                let mill = Mill::new(engine)
                    .dir(scratch.path())
                    .args(["data", option, "fifo"]);
                let mill = match option {
                    "-o" => mill.args(["--stats", "new"]),
                    "--hgrm" => mill.args(phase).args(["-o", "new"]),
                    _ => mill.args(["-o", "new"]),
                };
                let mut mill = mill.start();
                waits_for_a_reader(&mill);
                mill.signal(signal);
                eventually("it ends", Duration::from_secs(5), || mill.has_ended());
                mill.finish().killed_by(signal).complains("");
                assert!(!scratch.join("new").exists(), "{option}");
            }
        }
    });
    let scratch = files();
    run_log(&scratch, "run.hlog");
    mkfifo(&scratch.join("fifo"));
    for command in [["plot", "run.hlog", "-o"], ["merge", "run.hlog", "--hlog"]] {
        let mut mill = Mill::bare()
            .dir(scratch.path())
            .args(command)
            .arg("fifo")
            .start();
        waits_for_a_reader(&mill);
        mill.signal(Signal::TERM);
        eventually("it ends", Duration::from_secs(5), || mill.has_ended());
        mill.finish().killed_by(Signal::TERM).complains("");
    }
}

/// FIFOs are written to, not replaced.
#[test]
fn documents_go_into_fifos() {
    let scratch = files();
    let fifo = scratch.join("fifo");
    mkfifo(&fifo);
    let mill = Mill::auto()
        .dir(scratch.path())
        .args(["data", "-o", "sums", "--stats", "fifo"]);
    let mill = mill.start();
    let document: Value = serde_json::from_slice(&fs::read(&fifo).unwrap()).unwrap();
    mill.finish().succeeds();
    assert_eq!(document["end"], "complete");
    assert!(FileType::from_raw_mode(fs::metadata(&fifo).unwrap().mode()).is_fifo());
}

/// The first signal ends the run, and the measurements are still written.
#[test]
fn an_interrupted_run_leaves_no_temporary_file() {
    for_each_engine(|engine| {
        let scratch = files();
        let mill = Mill::new(engine).dir(scratch.path()).stdin_pipe();
        let mut mill = mill.args(["--stats", "stats"]).start();
        mill.feed("data\n");
        mill.read_line();
        let before = contents(scratch.path()).len();
        mill.signal(Signal::TERM);
        eventually("it ends", Duration::from_secs(20), || mill.has_ended());
        mill.finish().killed_by(Signal::TERM);
        let left = contents(scratch.path());
        assert_eq!(left.len(), before + 1, "{:?}", left.keys());
        assert!(left.contains_key(&OsString::from("stats")));
    });
}

#[test]
fn a_hyphen_is_standard_output() {
    let scratch = files();
    run_log(&scratch, "run.hlog");
    let run = |args: &[&str]| Mill::bare().dir(scratch.path()).args(args).run();
    let text = |args: &[&str]| String::from_utf8(run(args).succeeds().stdout).unwrap();
    let hash = ["hash", "-a", "crc32c", "data"];
    for name in ["-", "/dev/stdout", "/dev/fd/1"] {
        assert_eq!(
            text(&[&hash[..], &["-o", name]].concat()),
            line("content", "data")
        );
        let stats = text(&[&hash[..], &["-o", "sums", "--stats", name]].concat());
        assert!(
            stats.starts_with('{') && stats.contains("\"complete\""),
            "{stats}"
        );
    }
    let hlog = text(&[&hash[..], &["-o", "sums", "--hlog", "-"]].concat());
    assert!(hlog.starts_with("#[Logged with ringmill"), "{hlog}");
    let hgrm = ["-o", "sums", "--hgrm", "-", "--hgrm-phase", "total"];
    assert!(text(&[&hash[..], &hgrm].concat()).contains("1/(1-Percentile)"));
    assert!(text(&["plot", "run.hlog", "-o", "-"]).starts_with("<svg"));
    assert!(text(&["merge", "run.hlog", "--hlog", "-"]).starts_with("#[Logged"));
    assert!(!scratch.join("-").exists());
    let cases: [(&[&str], &str); 5] = [
        (
            &["hash", "data", "--stats", "-"],
            "--stats -: would mix with the rows",
        ),
        (
            &["hash", "data", "-o", "-", "--hlog", "-"],
            "--hlog -: would mix with -o -",
        ),
        (
            &["hash", "data", "--stats", "/dev/stdout"],
            "--stats /dev/stdout: would mix with the rows",
        ),
        (
            &["hash", "data", "-o", "sums", "--stats", "-", "--hlog", "-"],
            "--stats -: would mix with --hlog -",
        ),
        (
            &["merge", "run.hlog", "--latency", "--stats", "-"],
            "--stats -: would mix with the table",
        ),
    ];
    for (args, message) in cases {
        let output = refused(&scratch, Mill::bare().args(args));
        output.complains(format!(
            "ringmill: {message} on standard output\nhint: write one of them to a file\n"
        ));
    }
}

/// If standard output or standard error was redirected to a file, that file is not opened again.
#[test]
fn redirected_streams_keep_their_content() {
    let scratch = files();
    for name in ["-", "/dev/stdout"] {
        scratch.file("report", "before\n");
        let append = File::options()
            .append(true)
            .open(scratch.join("report"))
            .unwrap();
        let mill = Mill::auto()
            .dir(scratch.path())
            .args(["data", "-o", "sums", "--stats", name]);
        mill.stdout_to(append).run().succeeds();
        let report = fs::read_to_string(scratch.join("report")).unwrap();
        assert!(report.starts_with("before\n{"), "{report}");
    }
    // A reader that stops reading is not an error.
    let mill = Mill::auto()
        .dir(scratch.path())
        .args(["-o", "sums", "--stats", "-"]);
    let mut mill = mill.stdin_pipe().start();
    mill.feed("data\n");
    mill.close_stdout();
    mill.finish().succeeds();
}
