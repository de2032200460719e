//! Errors that usually mean that our own process has too much open, but that a file system returns for
//! a few files among thousands: each of these files has its own row, and the others are not affected.

use std::time::Duration;

use rustix::process::Resource;

use crate::support::for_each_engine;
use crate::support::healthy::{Healthy, rows_of};
use crate::support::scripted::Scripted;
use crate::support::tree::Corpus;

/// For ten files, however few descriptors are open.
#[test]
fn errors_that_look_like_exhaustion() {
    const ERRNOS: [&str; 4] = ["ENFILE", "EMFILE", "ENOMEM", "EAGAIN"];
    let corpus = Corpus::new(2000);
    let calls = ["open", "read", "open"];
    let sick: Vec<(String, &str, &str)> = (100..2000)
        .step_by(200)
        .enumerate()
        .map(|(place, number)| {
            let name = corpus.names[number].clone();
            (name, calls[place / 4], ERRNOS[place % 4])
        })
        .collect();
    let rules: String = sick
        .iter()
        .map(|(name, call, errno)| format!("{call} {name} fail {errno}\n"))
        .collect();
    let names: Vec<String> = sick.iter().map(|(name, ..)| name.clone()).collect();
    for_each_engine(|engine| {
        let Some(fuse) = Scripted::new(corpus.dir(), &rules) else {
            return;
        };
        let all = Healthy::of(&corpus, &fuse.dir());
        let paths = all.list_with(&[]);
        let healthy = all.without(&names);
        let mill = rows_of(engine, &paths).deadline(Duration::from_secs(180));
        let output = mill.run().exits(1);
        let rows = healthy.rows_of_others(&paths, &output);
        assert_eq!(rows.len(), sick.len());
        for (row, (_, call, errno)) in rows.iter().zip(&sick) {
            assert_eq!((row.error().0, row.error().1), (*call, *errno), "{row:?}");
        }
    });
}

/// The same while descriptors really are exhausted, to which the run adapts.
#[test]
fn exhaustion_and_errors_that_look_like_it() {
    let corpus = Corpus::new(2000);
    let sick = ["f00500", "f01500"].map(str::to_owned);
    let rules = "open f00500 fail EMFILE\nread f01500 fail ENOMEM\n";
    for_each_engine(|engine| {
        let Some(fuse) = Scripted::new(corpus.dir(), rules) else {
            return;
        };
        let all = Healthy::of(&corpus, &fuse.dir());
        let paths = all.list_with(&[]);
        let healthy = all.without(&sick);
        let mill = rows_of(engine, &paths).limit(Resource::Nofile, 10, 10);
        let output = mill.run().exits(1);
        let rows = healthy.rows_of_others(&paths, &output);
        assert_eq!(rows[0].error().1, "EMFILE");
        assert_eq!(rows[1].error().1, "ENOMEM");
    });
}

/// Such errors are not reported if they pass, whichever call returns them.
#[test]
fn exhaustion_that_passes() {
    let corpus = Corpus::new(2000);
    let rules = "open f0?100 fail ENFILE times 3\nread f0?200 fail ENOMEM times 2\n\
                 open f0?300 fail EAGAIN times 2\nopen f0?400 fail EMFILE times 4\n";
    for_each_engine(|engine| {
        let Some(fuse) = Scripted::new(corpus.dir(), rules) else {
            return;
        };
        let healthy = Healthy::of(&corpus, &fuse.dir());
        let paths = healthy.list_with(&[]);
        let output = rows_of(engine, &paths).run().exits(0);
        healthy.rows_of_others(&paths, &output);
    });
}
