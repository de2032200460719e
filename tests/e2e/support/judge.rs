//! Third-party implementations that read what `ringmill` writes: see `judge.py`.

use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The Python for which `scripts/test` installed the libraries.
fn python() -> PathBuf {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-python/bin/python");
    assert!(installed.exists(), "run scripts/test --setup first");
    installed
}

#[track_caller]
fn judge(arguments: &[&Path]) -> Vec<u8> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/support/judge.py");
    let output = Command::new(python()).arg(script).args(arguments).output();
    let output = output.expect("Python starts");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {complaint}");
    output.stdout
}

/// Fails if the document is not valid by the schema.
#[track_caller]
pub fn validate(schema: &Path, document: &Path) {
    judge(&[Path::new("schema"), schema, document]);
}

/// The content of an interval log, by tag: `count`, `max_ns`, `intervals_ms`, and in `buckets_ns` the
/// last value and the count of each bucket.
#[track_caller]
pub fn read_hlog(log: &Path) -> Value {
    let stdout = judge(&[Path::new("hlog"), log]);
    serde_json::from_slice(&stdout).expect("JSON")
}

/// Writes a log with an interval tagged `B` and one without a tag, each of the values 1, 10, 100
/// and 1000, from second 1 to 2.
#[track_caller]
pub fn write_hlog(log: &Path) {
    judge(&[Path::new("write"), log]);
}

/// Fails if a JSON row differs from what the server answers for that line of the list.
#[track_caller]
pub fn compare_names(list: &Path, rows: &Path, server: SocketAddr) {
    judge(&[
        Path::new("names"),
        list,
        rows,
        Path::new(&server.to_string()),
    ]);
}
