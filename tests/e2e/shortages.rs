//! Errors that look like resource exhaustion but concern one file; and real exhaustion.

use std::time::{Duration, Instant};

use rustix::process::Resource;

use crate::support::fusefs::{Errno, Mounted, Script};
use crate::support::peers;
use crate::support::tree::{Corpus, gnu_lines, list};
use crate::support::{Engine, Mill, Output, for_each_engine};

/// Longer than any machine needs for many healthy files. In real exhaustion, a call is retried for two
/// seconds.
const SOON: Duration = Duration::from_secs(20);

/// Every fifth of these files always fails as the script says. The others are hashed, and do not wait
/// for those.
fn some_of_a_hundred_fail(engine: Engine, fail: impl Fn(Script) -> Script, complaint: &str) {
    let names: Vec<String> = (0..100).map(|number| format!("f{number}")).collect();
    let fails = |number: usize| number % 5 == 4;
    let files = names.iter().enumerate().map(|(number, name)| {
        let script = Script::new(name.as_bytes());
        let script = if fails(number) { fail(script) } else { script };
        (name.as_str(), script)
    });
    let fuse = Mounted::new(files);
    let good = (0..).zip(&names).filter(|(number, _)| !fails(*number));
    let good: Vec<&String> = good.map(|(_, name)| name).collect();
    let digests: Vec<String> = good
        .iter()
        .map(|name| peers::digest("sha256", name.as_bytes()))
        .collect();
    let started = Instant::now();
    let mill = Mill::new(engine).dir(fuse.dir()).args(["-a", "sha256"]);
    let output = mill.stdin(list(&names, b'\n')).run().exits(1);
    let took = started.elapsed();
    let output = output.prints(gnu_lines(&digests, &good));
    assert_eq!(output.stderr_lines().len(), 20);
    for number in (0..100).filter(|number| fails(*number)) {
        output.mentions_line(&format!("ringmill: f{number}: {complaint}"));
    }
    assert!(took < SOON, "{complaint}: {took:?}");
}

trait MentionsLine {
    fn mentions_line(&self, line: &str);
}

impl MentionsLine for Output {
    fn mentions_line(&self, line: &str) {
        let lines = self.stderr_lines();
        assert!(
            lines.iter().any(|other| other == line),
            "no {line}: {lines:?}"
        );
    }
}

#[test]
fn an_errno_of_the_file_that_looks_like_a_shortage() {
    let errnos = [
        (Errno::ENFILE, "Too many open files in system"),
        (Errno::EMFILE, "Too many open files"),
        (Errno::ENOMEM, "Cannot allocate memory"),
        (Errno::EAGAIN, "Resource temporarily unavailable"),
    ];
    for_each_engine(|engine| {
        for (errno, message) in errnos {
            let fail = |script: Script| script.fails_open(errno);
            some_of_a_hundred_fail(engine, fail, &format!("cannot open: {message}"));
            let fail = |script: Script| script.direct().fails_read(0, errno);
            some_of_a_hundred_fail(engine, fail, &format!("cannot read: {message}"));
        }
    });
}

#[test]
fn an_interruption_without_end() {
    for_each_engine(|engine| {
        let message = "Interrupted system call";
        let fail = |script: Script| script.fails_open(Errno::EINTR);
        some_of_a_hundred_fail(engine, fail, &format!("cannot open: {message}"));
        let fail = |script: Script| script.direct().fails_read(0, Errno::EINTR);
        some_of_a_hundred_fail(engine, fail, &format!("cannot read: {message}"));
    });
}

/// With hardly any descriptors, files are hashed one after the other; or nothing is started, and the
/// limit that the hint names is sufficient.
#[test]
fn hardly_any_descriptor() {
    let corpus = Corpus::new(500);
    for_each_engine(|engine| {
        let run = |limit| {
            eprintln!("limit {limit}");
            let mill = Mill::new(engine).dir(corpus.dir()).args(["-a", "sha256"]);
            let mill = mill.limit(Resource::Nofile, limit, limit).deadline(SOON);
            mill.stdin(corpus.list()).run()
        };
        for limit in 4..=12 {
            let output = run(limit);
            if output.status.code() == Some(0) {
                output.prints(corpus.expected());
                continue;
            }
            let output = output.exits(2).prints("");
            let output = output.mentions(&["ringmill: ", "open files"]);
            if engine == Engine::Uring && output.stderr_text().contains("io_uring") {
                // A ring takes one more descriptor.
                continue;
            }
            let output = output.mentions(&["the limit on open files is", "hint: ulimit -n "]);
            let hint = output.stderr_text();
            let (_, hint) = hint.split_once("ulimit -n ").unwrap();
            let enough = hint.split(' ').next().unwrap().parse().unwrap();
            assert!(enough > limit && limit < 8, "{hint}");
            if engine == Engine::Threads {
                run(enough).exits(0).prints(corpus.expected());
            }
        }
    });
}

/// When memory runs out, the printed lines are whole, and the exit code says that some are missing.
#[test]
fn hardly_any_memory() {
    const MIB: u64 = 1024 * 1024;
    let corpus = Corpus::new(3_000);
    let expected = corpus.expected();
    for_each_engine(|engine| {
        let mut complete = 0;
        for limit in (60..400).step_by(20).map(|mib| mib * MIB) {
            let mill = Mill::new(engine).dir(corpus.dir()).args(["-a", "sha256"]);
            let mill = mill.limit(Resource::As, limit, limit);
            let output = mill.stdin(corpus.list()).run();
            let (stdout, stderr) = (&output.stdout, output.stderr_text());
            let is_whole = stdout.is_empty() || stdout.ends_with(b"\n");
            assert!(is_whole && expected.starts_with(stdout), "{stderr}");
            match output.status.code() {
                Some(0) => {
                    assert_eq!(stdout.len(), expected.len());
                    complete += 1;
                }
                code => assert_eq!(code, Some(2), "{limit}: {stderr}"),
            }
        }
        assert!(complete > 0, "there is memory in the end");
    });
}

/// The same where workers process the items.
#[test]
fn hardly_any_descriptor_on_a_file_system_that_may_block() {
    let names: Vec<String> = (0..60).map(|number| format!("f{number}")).collect();
    let digests: Vec<String> = names
        .iter()
        .map(|name| peers::digest("sha256", name.as_bytes()))
        .collect();
    for_each_engine(|engine| {
        let script = |name: &String| (name.clone(), Script::new(name.as_bytes()));
        let fuse = Mounted::new(names.iter().map(script));
        let path = |name: &String| fuse.path(name).to_str().unwrap().to_owned();
        let paths: Vec<String> = names.iter().map(path).collect();
        for limit in [10, 12] {
            eprintln!("limit {limit}");
            let mill = Mill::new(engine).args(["-a", "sha256"]);
            let mill = mill.limit(Resource::Nofile, limit, limit);
            let started = Instant::now();
            let output = mill.stdin(list(&paths, b'\n')).run().exits(0);
            output.prints(gnu_lines(&digests, &paths));
            assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
        }
    });
}
