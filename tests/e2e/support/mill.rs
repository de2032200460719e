//! Runs the binary: arguments, input, environment and limits in; output and wait status out.
//!
//! Every run has a deadline. When it passes, the process is killed and the test fails: a hang is a
//! failure.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, Signal};
use seccompiler::BpfProgram;
use tempfile::TempDir;

use super::{Engine, eventually, require_root, show};

/// A guard against runs that never end; on a busy machine some take minutes.
const DEADLINE: Duration = Duration::from_secs(300);

/// The binary under test: `RINGMILL_BIN`, or the one that cargo built for this test.
pub fn binary() -> PathBuf {
    std::env::var_os("RINGMILL_BIN")
        .map(PathBuf::from)
        .or_else(|| option_env!("CARGO_BIN_EXE_ringmill").map(PathBuf::from))
        .expect("neither RINGMILL_BIN nor CARGO_BIN_EXE_ringmill is set")
}

/// Where the binary's standard input comes from.
enum Input {
    Nothing,
    Bytes(Vec<u8>),
    Pipe,
    Given(Stdio),
}

/// Builds a run of `ringmill hash`.
pub struct Mill {
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    input: Input,
    output: Option<Stdio>,
    dir: Option<PathBuf>,
    limits: Vec<(Resource, Rlimit)>,
    inherited: usize,
    stdin_is_closed: bool,
    stdout_is_closed: bool,
    filter: Option<BpfProgram>,
    uid: Option<u32>,
    deadline: Duration,
}

/// Options of `ringmill dns` that give each name more attempts and time than a server that answers needs on
/// a busy machine.
pub const AMPLE: [&str; 2] = ["--retries=20", "--timeout=900s"];

impl Mill {
    /// `ringmill hash --engine ENGINE`.
    pub fn new(engine: Engine) -> Self {
        Mill::auto().args(["--engine", engine.name()])
    }

    /// `ringmill hash`; the program chooses the engine.
    pub fn auto() -> Self {
        Mill {
            args: vec!["hash".into()],
            env: Vec::new(),
            input: Input::Nothing,
            output: None,
            dir: None,
            limits: Vec::new(),
            inherited: 0,
            stdin_is_closed: false,
            stdout_is_closed: false,
            filter: None,
            uid: None,
            deadline: DEADLINE,
        }
    }

    /// `ringmill dns --engine ENGINE`, with this server.
    pub fn dns(engine: Engine, server: SocketAddr) -> Self {
        let args = ["dns", "--engine", engine.name(), "-r"];
        Mill::bare().args(args).arg(server.to_string())
    }

    /// `ringmill` without a subcommand.
    pub fn bare() -> Self {
        Mill {
            args: Vec::new(),
            ..Mill::auto()
        }
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().into());
        self
    }

    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().into()));
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Standard input holds these bytes and ends.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Input::Bytes(bytes.into());
        self
    }

    /// Standard input is a pipe that the test writes itself, by [`Running::feed`].
    pub fn stdin_pipe(mut self) -> Self {
        self.input = Input::Pipe;
        self
    }

    /// Standard input is something else, such as a terminal or a file.
    pub fn stdin_from(mut self, stdio: impl Into<Stdio>) -> Self {
        self.input = Input::Given(stdio.into());
        self
    }

    /// Standard output is not a pipe to the test but something else.
    pub fn stdout_to(mut self, stdio: impl Into<Stdio>) -> Self {
        self.output = Some(stdio.into());
        self
    }

    /// The process starts without a standard input.
    pub fn close_stdin_before_start(mut self) -> Self {
        self.stdin_is_closed = true;
        self
    }

    /// The process starts without a standard output.
    pub fn close_stdout_before_start(mut self) -> Self {
        self.stdout_is_closed = true;
        self
    }

    pub fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.dir = Some(dir.as_ref().into());
        self
    }

    pub fn limit(mut self, resource: Resource, soft: u64, hard: u64) -> Self {
        self.limits.push((
            resource,
            Rlimit {
                current: Some(soft),
                maximum: Some(hard),
            },
        ));
        self
    }

    /// The process starts with `count` open descriptors besides the standard three.
    pub fn inherit_descriptors(mut self, count: usize) -> Self {
        self.inherited = count;
        self
    }

    /// The process starts under this seccomp filter.
    pub fn seccomp(mut self, filter: BpfProgram) -> Self {
        self.filter = Some(filter);
        self
    }

    /// The process runs as this user, without any privilege.
    pub fn uid(mut self, uid: u32) -> Self {
        require_root();
        self.uid = Some(uid);
        self
    }

    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs to the end.
    #[track_caller]
    pub fn run(self) -> Output {
        self.start().finish()
    }

    /// Starts the process; the test holds the other ends of its pipes.
    #[track_caller]
    pub fn start(mut self) -> Running {
        // Another user has no access to this user's build directory.
        let public = self.uid.map(|_| public_copy());
        let program = public
            .as_ref()
            .map_or_else(binary, |(_, program)| program.clone());
        let mut command = Command::new(program);
        command
            .args(&self.args)
            .env_remove("RINGMILL_ENGINE")
            .env("LC_ALL", "C");
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        if let Some(uid) = self.uid {
            command.uid(uid).gid(uid);
        }
        let (input, bytes) = match std::mem::replace(&mut self.input, Input::Nothing) {
            Input::Nothing => (Stdio::null(), None),
            Input::Bytes(bytes) => (Stdio::piped(), Some(bytes)),
            Input::Pipe => (Stdio::piped(), None),
            Input::Given(stdio) => (stdio, None),
        };
        command.stdin(input);
        command.stdout(self.output.take().unwrap_or_else(Stdio::piped));
        command.stderr(Stdio::piped());
        self.prepare_child(&mut command);
        let line = format!("{command:?}");
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{line}: {error}"));
        Running::new(
            child,
            line,
            bytes,
            self.deadline,
            public.map(|(dir, _)| dir),
        )
    }

    /// Limits, descriptors and the filter are set between fork and exec.
    fn prepare_child(&mut self, command: &mut Command) {
        let limits = std::mem::take(&mut self.limits);
        let filter = self.filter.take();
        let inherited = self.inherited;
        let closed = [(0, self.stdin_is_closed), (1, self.stdout_is_closed)];
        let null = File::open("/dev/null").expect("/dev/null");
        let prepare = move || {
            close_what_the_tests_inherited();
            for _ in 0..inherited {
                let _stays_open = rustix::io::dup(&null)?.into_raw_fd();
            }
            for (resource, limit) in &limits {
                rustix::process::setrlimit(*resource, *limit)?;
            }
            for (stream, _) in closed.into_iter().filter(|(_, is_closed)| *is_closed) {
                // SAFETY: this process is about to become another program, which finds the number
                // unused. No code here uses it until then.
                unsafe { rustix::io::close(stream) };
            }
            if let Some(filter) = &filter {
                seccompiler::apply_filter(filter).map_err(|_| std::io::ErrorKind::Other)?;
            }
            Ok(())
        };
        // SAFETY: between fork and exec the closure only makes system calls: close_range, dup, setrlimit,
        // prctl and seccomp, on values that were built before the fork. It takes no lock and allocates
        // nothing.
        unsafe { command.pre_exec(prepare) };
    }
}

/// The next program gets only the standard streams, whatever descriptors the tests have inherited, so
/// that a limit on open files means the same on every machine.
fn close_what_the_tests_inherited() {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    // SAFETY: nothing is closed before exec, and the call takes no pointers. A kernel that lacks it (before
    // 5.11) returns an error and changes nothing.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, CLOSE_RANGE_CLOEXEC) };
}

/// The binary in a place that every user can reach.
fn public_copy() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("temporary directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    let program = dir.path().join("ringmill");
    if fs::hard_link(binary(), &program).is_err() {
        fs::copy(binary(), &program).expect("copy of the binary");
    }
    (dir, program)
}

/// A running process.
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<BufReader<ChildStdout>>,
    /// The part of standard output that has been read so far.
    seen: Vec<u8>,
    stderr: Arc<Mutex<Vec<u8>>>,
    stderr_reader: Option<JoinHandle<()>>,
    stdin_writer: Option<JoinHandle<()>>,
    watchdog: Watchdog,
    line: String,
    _program: Option<TempDir>,
}

impl Running {
    fn new(
        mut child: Child,
        line: String,
        bytes: Option<Vec<u8>>,
        deadline: Duration,
        program: Option<TempDir>,
    ) -> Self {
        let pid = Pid::from_child(&child);
        let watchdog = Watchdog::new(pid, deadline);
        let mut stdin = child.stdin.take();
        let stdin_writer = bytes.map(|bytes| {
            let mut pipe = stdin.take().expect("a pipe");
            // The reader may end first; then the rest of the input is of no interest.
            thread::spawn(move || drop(pipe.write_all(&bytes)))
        });
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let mut pipe = child.stderr.take().expect("a pipe");
        let collected = Arc::clone(&stderr);
        let stderr_reader = thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut chunk) {
                collected.lock().unwrap().extend_from_slice(&chunk[..count]);
            }
        });
        Running {
            stdin,
            stdout: child.stdout.take().map(BufReader::new),
            seen: Vec::new(),
            stderr,
            stderr_reader: Some(stderr_reader),
            stdin_writer,
            watchdog,
            line,
            _program: program,
            child,
        }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Writes to standard input.
    #[track_caller]
    pub fn feed(&mut self, bytes: impl AsRef<[u8]>) {
        let stdin = self.stdin.as_mut().expect("stdin is an open pipe");
        stdin
            .write_all(bytes.as_ref())
            .expect("ringmill reads its standard input");
    }

    /// Takes standard input, so that the caller can write to it.
    pub fn take_stdin(&mut self) -> ChildStdin {
        self.stdin.take().expect("stdin is an open pipe")
    }

    /// The next line of standard output, with its newline. Waits for it.
    #[track_caller]
    pub fn read_line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        let stdout = self.stdout.as_mut().expect("stdout is an open pipe");
        stdout
            .read_until(b'\n', &mut line)
            .expect("stdout is readable");
        if line.last() != Some(&b'\n') {
            panic!("stdout ended with {:?}; {}", show(&line), self.report());
        }
        self.seen.extend_from_slice(&line);
        line
    }

    /// Closes the reading end of standard output, and waits until no process has it open: a process
    /// that another test has forked has it, too, until it calls exec.
    pub fn close_stdout(&mut self) {
        self.stdout = None;
        let stdout = format!("/proc/{}/fd/1", self.pid());
        let Ok(stdout) = File::options().write(true).open(stdout) else {
            return;
        };
        eventually("the pipe has no reader", Duration::from_secs(10), || {
            let mut polled = [PollFd::new(&stdout, PollFlags::empty())];
            poll(&mut polled, Some(&Timespec::default())).expect("poll");
            polled[0].revents().contains(PollFlags::ERR)
        });
    }

    /// Sends a signal, unless the process has ended.
    pub fn signal(&self, signal: Signal) {
        self.watchdog.send(signal);
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_some()
    }

    /// A value of `/proc/PID/status` in KiB: `VmRSS`, `VmHWM`.
    pub fn memory_kib(&self, key: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(path).expect("the process runs");
        let line = status
            .lines()
            .find(|line| line.starts_with(key))
            .expect("a known key");
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse()
            .expect("a number")
    }

    /// What standard error holds so far.
    pub fn stderr_so_far(&self) -> Vec<u8> {
        self.stderr.lock().unwrap().clone()
    }

    fn report(&self) -> String {
        format!(
            "{}\ntimed out: {}\n--- stderr:\n{}",
            self.line,
            self.watchdog.has_fired(),
            show(&self.stderr_so_far())
        )
    }

    /// Closes standard input, reads the rest of the output and waits for the end.
    #[track_caller]
    pub fn finish(mut self) -> Output {
        self.stdin = None;
        let mut stdout = std::mem::take(&mut self.seen);
        if let Some(mut pipe) = self.stdout.take() {
            let (sender, rest) = mpsc::channel();
            thread::spawn(move || {
                let mut rest = Vec::new();
                let _ = pipe.read_to_end(&mut rest);
                let _ = sender.send(rest);
            });
            // A process in an uninterruptible call survives even the watchdog's SIGKILL.
            match rest.recv_timeout(self.watchdog.patience()) {
                Ok(rest) => stdout.extend_from_slice(&rest),
                Err(_) => panic!("cannot be killed: {}", self.report()),
            }
        }
        let status = self.wait();
        if self.watchdog.has_fired() {
            panic!(
                "timed out and killed: {}\n--- stdout:\n{}",
                self.report(),
                show(&stdout)
            );
        }
        for thread in [self.stderr_reader.take(), self.stdin_writer.take()]
            .into_iter()
            .flatten()
        {
            thread.join().expect("helper thread");
        }
        let output = Output {
            line: std::mem::take(&mut self.line),
            status,
            stdout,
            stderr: self.stderr_so_far(),
        };
        assert!(
            !output.stderr_text().contains("panicked at"),
            "a panic: {output:?}"
        );
        output
    }

    #[track_caller]
    fn wait(&mut self) -> ExitStatus {
        let limit = Instant::now() + self.watchdog.patience();
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return status;
            }
            assert!(
                Instant::now() < limit,
                "cannot be killed: {}",
                self.report()
            );
            sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.watchdog.send(Signal::KILL);
        let limit = Instant::now() + Duration::from_secs(2);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < limit {
            sleep(Duration::from_millis(1));
        }
    }
}

/// Kills the process at its deadline.
struct Watchdog {
    process: Arc<OwnedFd>,
    has_fired: Arc<AtomicBool>,
    until: Instant,
    _cancel: mpsc::Sender<()>,
}

impl Watchdog {
    fn new(pid: Pid, deadline: Duration) -> Self {
        let process = rustix::process::pidfd_open(pid, PidfdFlags::empty());
        let process = Arc::new(process.expect("pidfd_open"));
        let has_fired = Arc::new(AtomicBool::new(false));
        let (cancel, cancelled) = mpsc::channel::<()>();
        let (target, flag) = (Arc::clone(&process), Arc::clone(&has_fired));
        thread::spawn(move || {
            if cancelled.recv_timeout(deadline) == Err(mpsc::RecvTimeoutError::Timeout) {
                flag.store(true, Ordering::SeqCst);
                let _ = rustix::process::pidfd_send_signal(target.as_fd(), Signal::KILL);
            }
        });
        Watchdog {
            process,
            has_fired,
            until: Instant::now() + deadline,
            _cancel: cancel,
        }
    }

    fn send(&self, signal: Signal) {
        // The process may have ended already.
        let _ = rustix::process::pidfd_send_signal(self.process.as_fd(), signal);
    }

    fn has_fired(&self) -> bool {
        self.has_fired.load(Ordering::SeqCst)
    }

    /// How long to wait for the process: until its deadline, and a little longer.
    fn patience(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now()) + Duration::from_secs(5)
    }
}

/// The result of a run.
pub struct Output {
    line: String,
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Output {
    /// Fails unless the process exited with `code`.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "exit code; {self:?}");
        self
    }

    /// Fails unless the process exited with 0 and said nothing on standard error.
    #[track_caller]
    pub fn succeeds(self) -> Self {
        let output = self.exits(0);
        assert!(output.stderr.is_empty(), "stderr is not empty; {output:?}");
        output
    }

    /// Fails unless a signal ended the process.
    #[track_caller]
    pub fn killed_by(self, signal: Signal) -> Self {
        assert_eq!(
            self.status.signal(),
            Some(signal.as_raw()),
            "signal; {self:?}"
        );
        self
    }

    /// Fails unless standard output is exactly this.
    #[track_caller]
    pub fn prints(self, expected: impl AsRef<[u8]>) -> Self {
        if self.stdout != expected.as_ref() {
            eprintln!("{self:?}");
        }
        super::assert_same("stdout", &self.stdout, expected.as_ref());
        self
    }

    /// Fails unless standard error is exactly this.
    #[track_caller]
    pub fn complains(self, expected: impl AsRef<[u8]>) -> Self {
        super::assert_same("stderr", &self.stderr, expected.as_ref());
        self
    }

    /// Fails unless standard error holds each of these pieces.
    #[track_caller]
    pub fn mentions(self, pieces: &[&str]) -> Self {
        let text = self.stderr_text();
        for piece in pieces {
            assert!(text.contains(piece), "stderr lacks {piece:?}; {self:?}");
        }
        self
    }

    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The lines of standard error.
    pub fn stderr_lines(&self) -> Vec<String> {
        self.stderr_text().lines().map(str::to_owned).collect()
    }

    /// The lines of standard output without their newlines. The last one must end with a newline, too.
    #[track_caller]
    pub fn lines(&self) -> Vec<&[u8]> {
        let Some(body) = self.stdout.strip_suffix(b"\n") else {
            assert!(self.stdout.is_empty(), "an incomplete last line; {self:?}");
            return Vec::new();
        };
        body.split(|&byte| byte == b'\n').collect()
    }
}

impl std::fmt::Debug for Output {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "{} → {}\n--- stdout:\n{}\n--- stderr:\n{}",
            self.line,
            self.status,
            show(&self.stdout),
            show(&self.stderr)
        )
    }
}
