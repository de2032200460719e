//! The file system of `tests/fuse/scripted.c`: it shows a directory, and chosen calls on chosen files
//! are delayed, hang or fail. It is a process of its own with many threads, so that it can serve
//! thousands of files and hundreds of hanging calls, and can be killed.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use std::os::unix::process::CommandExt;
use tempfile::TempDir;

use super::{require_root, show};

const PATIENCE: Duration = Duration::from_secs(20);

/// True, with a message, if the kernel has no such device. Tests are left out for no other reason.
pub fn kernel_lacks(device: &str) -> bool {
    let missing = [libc::ENOENT, libc::ENODEV, libc::ENXIO].map(Some);
    let lacks = File::open(device).is_err_and(|error| missing.contains(&error.raw_os_error()));
    if lacks {
        eprintln!("left out: this kernel has no {device}");
    }
    lacks
}

/// The compiled program.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuse/scripted.c");
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("scripted");
        // Another run of the tests may be compiling it at the same time.
        let unfinished = program.with_extension(std::process::id().to_string());
        let output = Command::new("cc")
            .args(["-O2", "-Wall", "-Wextra", "-Werror", "-o"])
            .args([&unfinished, &source])
            .args(["-lfuse3", "-lpthread"])
            .output()
            .expect("cc; scripts/test installs what is needed");
        assert!(output.status.success(), "{}", show(&output.stderr));
        fs::rename(&unfinished, &program).expect("rename");
        program
    })
}

/// The lines that the program has printed.
#[derive(Default)]
struct Events {
    lines: Mutex<Vec<String>>,
    changed: Condvar,
}

/// A mounted file system. On drop it is removed, even if calls hang in it.
pub struct Scripted {
    dir: TempDir,
    process: Child,
    events: Arc<Events>,
}

impl Scripted {
    /// Serves `source`; `None` where the kernel has no FUSE.
    #[track_caller]
    pub fn new(source: &Path, rules: &str) -> Option<Self> {
        require_root();
        if kernel_lacks("/dev/fuse") {
            return None;
        }
        let dir = tempfile::tempdir().expect("temporary directory");
        let (script, point) = (dir.path().join("script"), dir.path().join("mnt"));
        fs::write(&script, rules).expect("the script");
        fs::create_dir(&point).expect("the mount point");
        let mut command = Command::new(program());
        command.args(["-n", "1000"]);
        command.args([&script, source, &point]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        // SAFETY: between fork and exec there is only one system call, prctl.
        unsafe {
            command.pre_exec(|| {
                // Ends the program if this process is killed and nothing is dropped.
                set_parent_process_death_signal(Some(Signal::TERM)).map_err(Into::into)
            })
        };
        let mut process = command.spawn().expect("the scripted file system");
        let events = Arc::new(Events::default());
        let lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let shared = Arc::clone(&events);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                shared.lines.lock().unwrap().push(line);
                shared.changed.notify_all();
            }
        });
        let scripted = Scripted {
            dir,
            process,
            events,
        };
        scripted.wait_for("a mount", |lines| !lines.is_empty());
        Some(scripted)
    }

    /// Where it is mounted.
    pub fn dir(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// Replaces the rules. Calls that hang stay as they are.
    #[track_caller]
    pub fn set_rules(&self, rules: &str) {
        let answers = |lines: &[String]| count(lines, "script ");
        let before = answers(&self.events.lines.lock().unwrap());
        fs::write(self.dir.path().join("script"), rules).expect("the script");
        self.signal(Signal::USR2);
        self.wait_for("new rules", |lines| answers(lines) > before);
        let unchanged = count(&self.events.lines.lock().unwrap(), "script unchanged");
        assert_eq!(unchanged, 0, "not a script: {rules}");
    }

    /// Releases the calls that hang now. Later calls are not affected: change the rules first.
    pub fn release(&self) {
        self.signal(Signal::USR1);
    }

    /// Ends all faults.
    pub fn recover(&self) {
        self.set_rules("");
        self.release();
        // For a call that was about to hang when the rules changed.
        sleep(Duration::from_millis(50));
        self.release();
    }

    /// How many calls have begun to hang so far.
    pub fn hung(&self) -> usize {
        count(&self.events.lines.lock().unwrap(), "hangs ")
    }

    #[track_caller]
    pub fn wait_until_hung(&self, calls: usize) {
        self.wait_for("hanging calls", |lines| count(lines, "hangs ") >= calls);
    }

    /// Kills the program, without any cleanup of its own.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
        // The kernel notices when the last thread is gone.
        let stat = format!("/proc/{}/stat", self.process.id());
        super::eventually("the server is dead", PATIENCE, || {
            fs::read_to_string(&stat).is_ok_and(|text| text.contains(") Z "))
        });
    }

    /// Ends the program and unmounts. Calls in progress fail.
    pub fn end(&mut self) {
        let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
        let limit = Instant::now() + Duration::from_secs(5);
        while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < limit {
            sleep(Duration::from_millis(2));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
        while unmount(self.dir(), UnmountFlags::DETACH).is_ok() {}
    }

    fn signal(&self, signal: Signal) {
        // The process is not reaped before the drop, so its pid belongs to no other process.
        let _ = kill_process(Pid::from_child(&self.process), signal);
    }

    #[track_caller]
    fn wait_for(&self, what: &str, mut condition: impl FnMut(&[String]) -> bool) {
        let lines = self.events.lines.lock().unwrap();
        let (lines, result) = self
            .events
            .changed
            .wait_timeout_while(lines, PATIENCE, |lines| !condition(lines))
            .unwrap();
        let last = lines.last().cloned();
        drop(lines);
        assert!(
            !result.timed_out(),
            "no {what} within {PATIENCE:?}; the last event: {last:?}"
        );
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.end();
    }
}

fn count(lines: &[String], start: &str) -> usize {
    lines.iter().filter(|line| line.starts_with(start)).count()
}

#[test]
fn the_rules_can_change() {
    let scratch = super::tree::Scratch::new();
    scratch.file("file", "content");
    let Some(fuse) = Scripted::new(scratch.path(), "read file hang\n") else {
        return;
    };
    let reader = thread::spawn({
        let path = fuse.path("file");
        move || fs::read(path)
    });
    fuse.wait_until_hung(1);
    fuse.set_rules("open file fail EIO\n");
    assert!(!reader.is_finished());
    let failure = fs::read(fuse.path("file")).unwrap_err();
    assert_eq!(failure.raw_os_error(), Some(5));
    fuse.release();
    assert_eq!(reader.join().unwrap().unwrap(), b"content");
    assert_eq!(fuse.hung(), 1);
}
