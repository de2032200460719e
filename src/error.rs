//! The errors of one item, and their messages.

use crate::io::SpecialKind;
use std::{fmt, io};

/// An operating system error number, with its symbolic name and its message.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

impl Errno {
    /// Wraps a positive errno value such as `libc::ENOENT`.
    #[must_use]
    pub const fn new(raw: i32) -> Self {
        Self(raw)
    }

    /// The positive errno value.
    #[must_use]
    pub const fn raw(self) -> i32 {
        self.0
    }

    /// The symbolic name, such as `ENOENT`.
    #[must_use]
    pub fn name(self) -> String {
        match nix::errno::Errno::from_raw(self.0) {
            nix::errno::Errno::UnknownErrno => format!("E{}", self.0),
            known => format!("{known:?}"),
        }
    }

    /// True for errors of resource exhaustion: *this process* lacks something (descriptors, memory, buffers,
    /// ports), and nothing is wrong with the item. The run adapts to such pressure.
    ///
    /// ECANCELED is one of them because the kernel returns it, without a request to cancel, when it cannot
    /// start a worker thread. Completions of our own cancellations do not reach this function.
    #[must_use]
    pub fn is_exhaustion(self) -> bool {
        matches!(
            self.0,
            libc::EMFILE
                | libc::ENFILE
                | libc::ENOMEM
                | libc::ENOBUFS
                | libc::EADDRNOTAVAIL
                | libc::EAGAIN
                | libc::ECANCELED
        )
    }
}

impl Errno {
    /// True if the same call may succeed later: something was exhausted, or a signal interrupted it.
    #[must_use]
    pub fn is_transient(self) -> bool {
        self.is_exhaustion() || self.is_interruption()
    }

    /// True if a signal interrupted the call.
    #[must_use]
    pub fn is_interruption(self) -> bool {
        self.0 == libc::EINTR
    }

    /// True for the errors of descriptor exhaustion: another item may free a descriptor.
    #[must_use]
    pub fn is_descriptor_exhaustion(self) -> bool {
        matches!(self.0, libc::EMFILE | libc::ENFILE)
    }
}

impl From<rustix::io::Errno> for Errno {
    fn from(errno: rustix::io::Errno) -> Self {
        Self(errno.raw_os_error())
    }
}

impl From<&io::Error> for Errno {
    /// EIO for an error that did not come from the operating system.
    fn from(error: &io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

impl From<Errno> for io::Error {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno.0)
    }
}

impl fmt::Display for Errno {
    /// The C library's text, as the coreutils print it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = std::io::Error::from_raw_os_error(self.0).to_string();
        f.write_str(text.split(" (os error").next().unwrap_or(&text))
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// The step at which an item failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Looking up or opening the path.
    Open,
    /// Reading the metadata (size and times) of an open file.
    Stat,
    /// Reading content.
    Read,
    /// Closing the descriptor.
    Close,
    /// Sending to a server or receiving from a server.
    Exchange,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Open,
        Self::Stat,
        Self::Read,
        Self::Close,
        Self::Exchange,
    ];

    /// The word used in messages and in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Stat => "stat",
            Self::Read => "read",
            Self::Close => "close",
            Self::Exchange => "exchange",
        }
    }
}

/// Why an item has no value: the operation that failed and the cause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot {}: {cause}", operation.name())]
pub struct ItemError {
    /// The step that failed.
    pub operation: Operation,
    /// Why it failed.
    pub cause: Cause,
}

/// The cause of an [`ItemError`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The kernel returned this error.
    #[error("{0}")]
    Errno(Errno),
    /// The name itself holds a NUL byte, which no path can.
    #[error("the name contains a NUL byte")]
    NulInName,
    /// A FIFO, socket or device, which is read only on request.
    #[error("is a {0}, not a regular file")]
    Special(SpecialKind),
    /// The run itself writes to the file.
    #[error("is the output of this run")]
    Output,
    /// In strict mode: size, mtime or ctime differed between the open and the end of the file.
    #[error("changed while it was read")]
    Changed,
    /// The item was not done within its deadline.
    #[error("timed out after {}", humantime::format_duration(std::time::Duration::from_millis(*timeout_ms)))]
    TimedOut {
        /// The deadline, in milliseconds from the item's first submission.
        timeout_ms: u64,
    },
    /// The item was not started: all that could run it wait for calls that do not return.
    #[error("not tried: {} not return", calls_that_do(*calls, mount_point.as_deref()))]
    NotTried {
        /// The number of these calls.
        calls: usize,
        /// The mount point of the file system of these calls, if they are all on one.
        mount_point: Option<String>,
    },
}

impl Cause {
    /// The word under which failures of this cause are counted, and their code in JSON: the name of the
    /// kernel's errno, or another word in lower case.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Errno(errno) => errno.name(),
            Self::NulInName => "nul-in-name".to_owned(),
            Self::Special(_) => "special-file".to_owned(),
            Self::Output => "output-file".to_owned(),
            Self::Changed => "changed".to_owned(),
            Self::TimedOut { .. } => "timed-out".to_owned(),
            Self::NotTried { .. } => "not-tried".to_owned(),
        }
    }
}

/// `1 call on /mnt does`, `2 calls do`.
fn calls_that_do(calls: usize, mount_point: Option<&str>) -> String {
    let (noun, verb) = match calls {
        1 => ("call", "does"),
        _ => ("calls", "do"),
    };
    let place = mount_point.map_or_else(String::new, |mount_point| format!(" on {mount_point}"));
    format!("{calls} {noun}{place} {verb}")
}

impl ItemError {
    /// An error with a kernel error number as its cause.
    #[must_use]
    pub fn errno(operation: Operation, errno: Errno) -> Self {
        Self {
            operation,
            cause: Cause::Errno(errno),
        }
    }

    /// The kernel's error number, if the cause is an error of the kernel.
    #[must_use]
    pub fn as_errno(&self) -> Option<Errno> {
        match self.cause {
            Cause::Errno(errno) => Some(errno),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_as_coreutils_print_them() {
        let error = ItemError::errno(Operation::Open, Errno::new(libc::ENOENT));
        assert_eq!(error.to_string(), "cannot open: No such file or directory");
        assert_eq!(error.as_errno().map(Errno::name), Some("ENOENT".to_owned()));
    }

    #[test]
    fn an_unknown_errno_still_has_a_name() {
        assert_eq!(Errno::new(4095).name(), "E4095");
    }

    #[test]
    fn a_time_out_names_its_length() {
        let error = ItemError {
            operation: Operation::Read,
            cause: Cause::TimedOut { timeout_ms: 2500 },
        };
        assert_eq!(error.to_string(), "cannot read: timed out after 2s 500ms");
    }
}
