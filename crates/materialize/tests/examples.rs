//! The examples on other runtimes do what their documentation says.

#![allow(
    dead_code,
    reason = "the `main` functions of the examples are not called"
)]

#[path = "../examples/compio.rs"]
mod compio_example;
#[path = "../examples/tokio.rs"]
mod tokio_example;
#[cfg(target_os = "linux")]
#[path = "../examples/tokio_uring.rs"]
mod tokio_uring_example;

use std::fs;
use std::io;
use std::path::PathBuf;

#[test]
fn on_tokio() {
    let cubes: Vec<u64> = (0..100).map(|n| n * n * n).collect();
    assert_eq!(tokio_example::one_thread().unwrap(), cubes);
    assert_eq!(tokio_example::two_tasks().unwrap(), cubes);
}

/// The crate's sources, twenty times, and a missing file.
fn paths(own_sources: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut paths = vec![own_sources; 20].concat();
    paths.insert(5, "missing".into());
    paths
}

fn size(path: &PathBuf) -> io::Result<u64> {
    Ok(fs::metadata(path)?.len())
}

#[test]
#[cfg(target_os = "linux")]
fn on_tokio_uring() {
    if std::panic::catch_unwind(|| tokio_uring::start(async {})).is_err() {
        eprintln!("io_uring is not available: left out");
        return;
    }
    let paths = paths(tokio_uring_example::own_sources().unwrap());
    let mut rows = Vec::new();
    tokio_uring_example::run(paths.clone(), |path, counted| {
        match counted {
            Ok(counted) => {
                let content = fs::read_to_string(&path).unwrap();
                assert_eq!(counted.bytes, size(&path).unwrap());
                assert_eq!(counted.lines, content.lines().count());
            }
            Err(error) => assert_eq!(error.kind(), size(&path).unwrap_err().kind()),
        }
        rows.push(path);
    });
    assert_eq!(rows, paths);
}

#[test]
fn on_compio() {
    if let Err(error) = compio::runtime::Runtime::new() {
        eprintln!("compio cannot start: left out: {error}");
        return;
    }
    let paths = paths(compio_example::own_sources().unwrap());
    let mut rows = Vec::new();
    let each = |path: PathBuf, found: io::Result<usize>| {
        match found {
            Ok(found) => assert_eq!(found as u64, size(&path).unwrap()),
            Err(error) => assert_eq!(error.kind(), size(&path).unwrap_err().kind()),
        }
        rows.push(path);
    };
    compio_example::run(paths.clone(), each).unwrap();
    assert_eq!(rows, paths);
}
