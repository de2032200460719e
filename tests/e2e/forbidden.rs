//! io_uring is forbidden: by a seccomp filter that refuses or kills, or by the sysctl.

use std::fs;

use rustix::io::Errno;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use crate::support::tree::Corpus;
use crate::support::{Engine, Mill, Output, require_root};

/// io_uring_setup, io_uring_enter, io_uring_register; the numbers are the same on every
/// architecture.
const IO_URING_CALLS: [i64; 3] = [425, 426, 427];

/// A filter that answers these calls with `action` and allows everything else.
fn filter(calls: impl IntoIterator<Item = i64>, action: SeccompAction) -> BpfProgram {
    filter_some(calls.into_iter().map(|call| (call, vec![])), action)
}

/// The same, but only for calls whose arguments match one of their rules.
fn filter_some(
    calls: impl IntoIterator<Item = (i64, Vec<SeccompRule>)>,
    action: SeccompAction,
) -> BpfProgram {
    let arch: TargetArch = std::env::consts::ARCH
        .try_into()
        .expect("a known architecture");
    let rules = calls.into_iter().collect();
    SeccompFilter::new(rules, SeccompAction::Allow, action, arch)
        .and_then(BpfProgram::try_from)
        .expect("a valid filter")
}

pub(crate) fn refuse(errno: Errno) -> BpfProgram {
    filter(
        IO_URING_CALLS,
        SeccompAction::Errno(errno.raw_os_error() as u32),
    )
}

fn kill() -> BpfProgram {
    filter(IO_URING_CALLS, SeccompAction::KillProcess)
}

fn sha256(corpus: &Corpus, mill: Mill) -> Mill {
    mill.dir(corpus.dir())
        .args(["-a", "sha256"])
        .stdin(corpus.list())
}

/// The run succeeds with threads, and its one line on standard error names the cause.
#[track_caller]
fn falls_back(output: Output, corpus: &Corpus, causes: &[&str]) {
    let output = output.exits(0).prints(corpus.expected());
    let lines = output.stderr_lines();
    assert_eq!(lines.len(), 1, "one line: {output:?}");
    assert!(lines[0].starts_with("ringmill: "), "{lines:?}");
    assert!(
        lines[0].contains("io_uring") && lines[0].contains("threads"),
        "{lines:?}"
    );
    assert!(
        causes.iter().any(|cause| lines[0].contains(cause)),
        "{lines:?} lacks {causes:?}"
    );
}

/// A first small ring is allowed, but the rings of the loops are not. This fallback is reported, too.
#[test]
fn the_rings_of_the_loops_are_refused() {
    let corpus = Corpus::new(100);
    let setup_of_more_than_8_entries = SeccompRule::new(vec![
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Gt, 8).expect("valid"),
    ]);
    let rules = [(425, vec![setup_of_more_than_8_entries.expect("valid")])];
    let action = SeccompAction::Errno(Errno::NOMEM.raw_os_error() as u32);
    let filter = filter_some(rules, action);
    let output = sha256(&corpus, Mill::auto()).seccomp(filter).run();
    falls_back(output, &corpus, &["not enough memory"]);
}

/// `--engine uring` does not fall back: it fails, and reports cause and remedy.
#[track_caller]
fn refuses(output: Output, causes: &[&str]) {
    let output = output
        .exits(2)
        .prints("")
        .mentions(&["ringmill: ", "io_uring", "--engine"]);
    let text = output.stderr_text();
    assert!(
        causes.iter().any(|cause| text.contains(cause)),
        "{text} lacks {causes:?}"
    );
}

#[test]
fn seccomp_that_refuses() {
    let corpus = Corpus::new(500);
    let cases: [(Errno, &[&str]); 2] = [
        (Errno::PERM, &["seccomp"]),
        (Errno::NOSYS, &["seccomp", "kernel"]),
    ];
    for (errno, causes) in cases {
        eprintln!("errno {errno:?}");
        falls_back(
            sha256(&corpus, Mill::auto()).seccomp(refuse(errno)).run(),
            &corpus,
            causes,
        );
        let named = sha256(&corpus, Mill::auto().args(["--engine", "auto"]));
        falls_back(named.seccomp(refuse(errno)).run(), &corpus, causes);
        let uring = sha256(&corpus, Mill::new(Engine::Uring));
        refuses(uring.seccomp(refuse(errno)).run(), causes);
    }
}

/// Other refusals that occur in practice: security modules, memory limits.
#[test]
fn other_refusals() {
    let corpus = Corpus::new(100);
    for errno in [Errno::ACCESS, Errno::NOMEM] {
        eprintln!("errno {errno:?}");
        let output = sha256(&corpus, Mill::auto()).seccomp(refuse(errno)).run();
        falls_back(output, &corpus, &[""]);
        let uring = sha256(&corpus, Mill::new(Engine::Uring));
        refuses(uring.seccomp(refuse(errno)).run(), &[""]);
    }
}

/// The first call works and another does not: a filter may know only one of the numbers. The run may
/// work without the refused call, or fall back; otherwise it ends with an error.
#[test]
fn half_an_io_uring() {
    let corpus = Corpus::new(100);
    let [_, enter, register] = IO_URING_CALLS;
    for call in [enter, register] {
        eprintln!("call {call}");
        let refused = || {
            filter(
                [call],
                SeccompAction::Errno(Errno::PERM.raw_os_error() as u32),
            )
        };
        for mill in [Mill::auto(), Mill::new(Engine::Uring)] {
            let output = sha256(&corpus, mill).seccomp(refused()).run();
            match output.status.code() {
                Some(0) => drop(output.prints(corpus.expected())),
                _ => refuses(output, &["io_uring"]),
            }
        }
    }
    let refused = filter(
        [register],
        SeccompAction::Errno(Errno::PERM.raw_os_error() as u32),
    );
    let output = sha256(&corpus, Mill::auto()).seccomp(refused).run();
    output.exits(0).prints(corpus.expected());
}

#[test]
fn the_threads_engine_never_touches_io_uring() {
    let corpus = Corpus::new(500);
    let mill = || sha256(&corpus, Mill::new(Engine::Threads)).seccomp(kill());
    mill().run().succeeds().prints(corpus.expected());
    mill()
        .args(["-v", "--summary"])
        .run()
        .exits(0)
        .prints(corpus.expected());
    let by_env = sha256(&corpus, Mill::auto().env("RINGMILL_ENGINE", "threads"));
    by_env
        .seccomp(kill())
        .run()
        .succeeds()
        .prints(corpus.expected());
}

/// This checks the filter itself: a process that uses io_uring is killed.
#[test]
fn the_killing_filter_kills() {
    let corpus = Corpus::new(1);
    let output = sha256(&corpus, Mill::new(Engine::Uring))
        .seccomp(kill())
        .run();
    output.killed_by(rustix::process::Signal::SYS);
}

#[test]
fn the_command_line_outranks_the_environment() {
    let corpus = Corpus::new(10);
    let mill = sha256(
        &corpus,
        Mill::new(Engine::Threads).env("RINGMILL_ENGINE", "uring"),
    );
    mill.seccomp(kill())
        .run()
        .succeeds()
        .prints(corpus.expected());
}

const SYSCTL: &str = "/proc/sys/kernel/io_uring_disabled";

/// Sets the sysctl, and restores it on drop.
struct Disabled {
    before: String,
}

impl Disabled {
    fn new(value: &str) -> Self {
        let before = fs::read_to_string(SYSCTL).expect("a kernel with io_uring_disabled (6.6)");
        fs::write(SYSCTL, value).expect("root may set it");
        Disabled { before }
    }
}

impl Drop for Disabled {
    fn drop(&mut self) {
        fs::write(SYSCTL, self.before.trim()).expect("the old value");
    }
}

#[test]
#[ignore = "sets a sysctl of the whole machine; scripts/test runs it alone"]
fn forbidden_by_sysctl() {
    require_root();
    let corpus = Corpus::new(500);
    {
        let _all = Disabled::new("2");
        falls_back(
            sha256(&corpus, Mill::auto()).run(),
            &corpus,
            &["io_uring_disabled"],
        );
        refuses(
            sha256(&corpus, Mill::new(Engine::Uring)).run(),
            &["io_uring_disabled"],
        );
        let threads = sha256(&corpus, Mill::new(Engine::Threads));
        threads.run().succeeds().prints(corpus.expected());
    }
    {
        let _unprivileged = Disabled::new("1");
        let output = sha256(&corpus, Mill::auto()).uid(58_010).run();
        falls_back(output, &corpus, &["io_uring_disabled"]);
        sha256(&corpus, Mill::new(Engine::Uring))
            .run()
            .succeeds()
            .prints(corpus.expected());
    }
    sha256(&corpus, Mill::new(Engine::Uring))
        .run()
        .succeeds()
        .prints(corpus.expected());
}
