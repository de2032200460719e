//! Resource limits: all files are hashed even with few descriptors, threads or locked pages.

use std::fs;
use std::io::Write;
use std::thread;
use std::time::Duration;

use rustix::process::Resource;

use crate::support::tree::{Corpus, list};
use crate::support::{Engine, Mill, eventually, for_each_engine};

const MANY: usize = 10_000;

#[test]
fn sixteen_descriptors_for_ten_thousand_files() {
    let corpus = Corpus::new(MANY);
    for_each_engine(|engine| {
        let mill = Mill::new(engine).dir(corpus.dir()).args(["-a", "sha256"]);
        let mill = mill.limit(Resource::Nofile, 16, 16).stdin(corpus.list());
        mill.run().exits(0).prints(corpus.expected());
    });
}

#[test]
fn few_descriptors() {
    let corpus = Corpus::new(2000);
    for_each_engine(|engine| {
        for limit in 7..=20 {
            eprintln!("at most {limit} descriptors");
            let mill = Mill::new(engine).dir(corpus.dir()).args(["-a", "sha256"]);
            let mill = mill.limit(Resource::Nofile, limit, limit);
            mill.stdin(corpus.list())
                .run()
                .exits(0)
                .prints(corpus.expected());
        }
    });
}

#[test]
fn a_soft_limit_is_raised() {
    let corpus = Corpus::new(MANY);
    for_each_engine(|engine| {
        let mill = Mill::new(engine).dir(corpus.dir()).args(["-a", "sha256"]);
        let mut mill = mill.limit(Resource::Nofile, 64, 4096).stdin_pipe().start();
        let (first, rest) = corpus.names.split_at(100);
        mill.feed(list(first, b'\n'));
        // Once a line has been printed, the limit has been raised.
        mill.read_line();
        let limits = fs::read_to_string(format!("/proc/{}/limits", mill.pid())).unwrap();
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max open files"))
            .unwrap();
        let soft: u64 = line.split_whitespace().nth(3).unwrap().parse().unwrap();
        assert!(soft > 64, "still {line}");
        let (mut pipe, rest) = (mill.take_stdin(), list(rest, b'\n'));
        thread::spawn(move || pipe.write_all(&rest).expect("ringmill reads the rest"));
        mill.finish().succeeds().prints(corpus.expected());
    });
}

/// Descriptors that were open from the start count against the limit, too.
#[test]
fn inherited_descriptors_take_room() {
    let corpus = Corpus::new(MANY);
    for_each_engine(|engine| {
        for limit in [1024, 256, 224] {
            let mill = Mill::new(engine).dir(corpus.dir()).args(["-a", "sha256"]);
            let mill = mill
                .inherit_descriptors(200)
                .limit(Resource::Nofile, limit, limit);
            mill.stdin(corpus.list())
                .run()
                .exits(0)
                .prints(corpus.expected());
        }
    });
}

/// With a small hard limit, the plan reports the reduced concurrency, and its cause.
#[test]
fn a_forced_plan_is_explained() {
    let corpus = Corpus::new(10);
    for_each_engine(|engine| {
        let mill = Mill::new(engine)
            .dir(corpus.dir())
            .args(["-a", "sha256", "-v"]);
        let mill = mill.limit(Resource::Nofile, 24, 24).stdin(corpus.list());
        let output = mill.run().exits(0).prints(corpus.expected());
        assert!(
            output.stderr_text().contains("24"),
            "the limit is named: {output:?}"
        );
    });
}

/// Buffers, and since Linux 6.14 the rings themselves, are charged to RLIMIT_MEMLOCK for unprivileged
/// users.
#[test]
fn little_locked_memory() {
    let corpus = Corpus::new(2000);
    for_each_engine(|engine| {
        let mill = || Mill::new(engine).dir(corpus.dir()).args(["-a", "sha256"]);
        let mill = || mill().stdin(corpus.list());
        mill()
            .limit(Resource::Memlock, 0, 0)
            .run()
            .succeeds()
            .prints(corpus.expected());
        let little = 64 << 10;
        let output = mill()
            .limit(Resource::Memlock, little, little)
            .uid(58_002)
            .run();
        output.exits(0).prints(corpus.expected());
    });
}

#[test]
fn no_locked_memory() {
    let corpus = Corpus::new(2000);
    let mill = |mill: Mill| {
        let mill = mill
            .dir(corpus.dir())
            .args(["-a", "sha256"])
            .stdin(corpus.list());
        mill.limit(Resource::Memlock, 0, 0).uid(58_007).run()
    };
    mill(Mill::new(Engine::Threads))
        .succeeds()
        .prints(corpus.expected());
    let output = mill(Mill::auto()).exits(0).prints(corpus.expected());
    assert!(output.stderr_lines().len() <= 1, "{output:?}");
    // Where the kernel allows no ring at all, the error must say so.
    let output = mill(Mill::new(Engine::Uring));
    if output.status.code() == Some(2) {
        output
            .prints("")
            .mentions(&["ringmill: ", "RLIMIT_MEMLOCK", "--engine"]);
    } else {
        output.exits(0).prints(corpus.expected());
    }
}

/// Room for a few threads: the run does without the workers that cannot be started.
#[test]
fn few_threads() {
    let corpus = Corpus::new(2000);
    for_each_engine(|engine| {
        for (uid, threads) in [(58_003, 16), (58_004, 8), (58_005, 6)] {
            eprintln!("at most {threads} threads");
            let mill = Mill::new(engine).dir(corpus.dir()).args(["-a", "sha256"]);
            let mill = mill.uid(uid).limit(Resource::Nproc, threads, threads);
            mill.stdin(corpus.list())
                .run()
                .exits(0)
                .prints(corpus.expected());
        }
    });
}

/// Without room for any thread, the first thread does everything, which is reported. Only a ring that
/// was requested explicitly needs more.
#[test]
fn no_thread_at_all() {
    let corpus = Corpus::new(2000);
    let run = |mill: Mill| {
        let mill = mill.dir(corpus.dir()).args(["-a", "sha256"]);
        let mill = mill.uid(58_006).limit(Resource::Nproc, 1, 1);
        mill.stdin(corpus.list()).run()
    };
    for mill in [Mill::auto(), Mill::new(Engine::Threads)] {
        let output = run(mill).exits(0).prints(corpus.expected());
        output.mentions(&["cannot start a thread", "ran single-threaded"]);
    }
    let output = run(Mill::new(Engine::Uring)).exits(2).prints("");
    output.mentions(&["ringmill: ", "thread"]);
}

/// After 10,000 files the process holds no more descriptors than after ten.
#[test]
fn descriptors_are_given_back() {
    let corpus = Corpus::new(MANY);
    for_each_engine(|engine| {
        let mill = Mill::new(engine).dir(corpus.dir()).args(["-a", "sha256"]);
        let mut mill = mill.stdin_pipe().start();
        let threads = format!("/proc/{}/task", mill.pid());
        // The loops may have descriptor tables of their own. Threads come and go (the kernel's
        // workers are listed, too), each showing its loop's table: so the fullest table counts.
        let count = || -> usize {
            let threads = fs::read_dir(&threads).unwrap();
            let tables = threads.map(|thread| fs::read_dir(thread.unwrap().path().join("fd")));
            tables.flatten().map(Iterator::count).max().unwrap()
        };
        let mut counts = Vec::new();
        let (first, rest) = corpus.names.split_at(10);
        for batches in [vec![first], rest.chunks(500).collect()] {
            for batch in batches {
                mill.feed(list(batch, b'\n'));
                batch.iter().for_each(|_| drop(mill.read_line()));
            }
            let mut last = usize::MAX;
            eventually("descriptors settle", Duration::from_secs(10), || {
                let now = count();
                std::mem::replace(&mut last, now) == now
            });
            counts.push(last);
        }
        assert!(
            counts[1] <= counts[0] + 8,
            "descriptors after 10 and after all: {counts:?}"
        );
        mill.finish().succeeds().prints(corpus.expected());
    });
}
