//! The limit on open files.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::DirEntry;
use std::io;

/// What a limit of "unlimited" counts as.
const PLENTY: u64 = 1 << 20;

/// The limit on open files, before and after it was raised, and what is open already.
#[derive(Clone, Copy, Debug)]
pub(super) struct Descriptors {
    pub(super) soft_before: u64,
    pub(super) limit: u64,
    pub(super) in_use: usize,
    /// Numbers of descriptors below the limit that are free.
    pub(super) free: usize,
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
        let open = open_descriptors();
        let below_limit = open.iter().filter(|number| **number < limit).count();
        Self {
            soft_before,
            limit,
            in_use: open.len(),
            free: usize::try_from(limit).unwrap_or(usize::MAX) - below_limit,
        }
    }
}

/// The descriptors in use, inherited ones included. Without /proc, the usual three.
fn open_descriptors() -> Vec<u64> {
    let number = |entry: io::Result<DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
        return vec![0, 1, 2];
    };
    let mut open: Vec<u64> = entries.filter_map(number).collect();
    // Reading the directory itself takes one, the lowest that was free, closed again by now.
    open.retain(|number| std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok());
    open
}
