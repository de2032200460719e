//! The limit on open files.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a limit of "unlimited" counts as.
const PLENTY: u64 = 1 << 20;

/// The limit on open files, before and after it was raised, and what is open already.
#[derive(Clone, Copy, Debug)]
pub(super) struct Descriptors {
    pub(super) soft_before: u64,
    pub(super) limit: u64,
    pub(super) in_use: usize,
}

impl Descriptors {
    /// Raises the soft limit to the hard one and counts what is open.
    pub(super) fn raise() -> Self {
        let before = getrlimit(Resource::Nofile);
        let hard = before.maximum.unwrap_or(PLENTY);
        let soft_before = before.current.unwrap_or(PLENTY);
        let raised = Rlimit {
            current: Some(hard),
            maximum: before.maximum,
        };
        let limit = match setrlimit(Resource::Nofile, raised) {
            Ok(()) => hard,
            Err(_) => soft_before,
        };
        Self {
            soft_before,
            limit,
            in_use: count_open(),
        }
    }
}

/// Counts the descriptors in use, inherited ones included. Without /proc, the usual three.
fn count_open() -> usize {
    // Reading the directory itself takes one descriptor, closed again by the time it is used.
    std::fs::read_dir("/proc/self/fd").map_or(3, |entries| entries.count().saturating_sub(1))
}
