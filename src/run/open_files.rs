//! The limit on open files.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::DirEntry;
use std::io;

/// The number that stands for a limit of "unlimited".
const UNLIMITED: u64 = 1 << 20;

/// The limit on open files, and how many are open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptors {
    pub(crate) limit: u64,
    pub(crate) in_use: usize,
    /// Numbers of descriptors below the limit that are free.
    pub(crate) free: usize,
}

/// The limit on open files leaves no sockets for the servers.
#[cfg(feature = "dns")]
#[derive(Debug, thiserror::Error)]
#[error(
    "the limit on open files ({limit}) leaves no sockets for each server ({servers}) in each loop ({loops})"
)]
pub(crate) struct NoSockets {
    limit: u64,
    servers: usize,
    loops: usize,
}

/// The current limit on open files, which the process may raise.
pub(crate) fn soft_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(UNLIMITED)
}

impl Descriptors {
    /// Raises the soft limit to the hard one and counts the open files.
    pub(crate) fn raise() -> Self {
        let hard = getrlimit(Resource::Nofile).maximum;
        let raised = Rlimit {
            current: Some(hard.unwrap_or(UNLIMITED)),
            maximum: hard,
        };
        // If that fails, the limit stays as it is.
        let _ = setrlimit(Resource::Nofile, raised);
        Self::now()
    }

    /// Counts the open files, and does not change the limit.
    pub(crate) fn now() -> Self {
        let limit = soft_limit();
        let open = open_descriptors();
        let below_limit = open.iter().filter(|number| **number < limit).count();
        Self {
            limit,
            in_use: open.len(),
            free: usize::try_from(limit).unwrap_or(usize::MAX) - below_limit,
        }
    }

    /// How many sockets each loop may have for each server, if all loops together want `wanted` for each.
    /// With datagrams, a loop has one more for each server, for a stream; without, it has only streams.
    /// Fails if not one is left.
    #[cfg(feature = "dns")]
    pub(crate) fn sockets(
        &self,
        wanted: usize,
        servers: usize,
        loops: usize,
        has_datagrams: bool,
    ) -> Result<usize, NoSockets> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let for_sockets = crate::mill::budget::descriptors_left(limit, self.in_use, loops);
        let for_each_server = for_sockets / loops / servers;
        let sockets_max = for_each_server.saturating_sub(usize::from(has_datagrams));
        match sockets_max {
            0 => Err(NoSockets {
                limit: self.limit,
                servers,
                loops,
            }),
            _ => Ok(wanted.div_ceil(loops).min(sockets_max)),
        }
    }
}

/// The descriptors in use, including inherited ones. Without /proc, the three standard streams.
fn open_descriptors() -> Vec<u64> {
    let number = |entry: io::Result<DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
        return vec![0, 1, 2];
    };
    let mut open: Vec<u64> = entries.filter_map(number).collect();
    // Drops the descriptor that read the directory itself: it is closed by now.
    open.retain(|number| std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok());
    open
}
