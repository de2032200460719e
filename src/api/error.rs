//! The one type of error in the interface.

use crate::error::{Cause, Errno, ItemError};
use crate::escape::write_escaped;
use crate::io::uring::Refusal;
use crate::run::{RunError, Unfit};
use crate::source::InputError;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::{fmt, io};

/// Why an item has no value, or why a run could not start or broke: what failed, on what, and the
/// system's error number if it is the system's error.
///
/// ```
/// use ringmill::{Error, ErrorKind};
///
/// for row in ringmill::hash(["/no/such/file"]).start()? {
///     let error = row?.result.unwrap_err();
///     assert_eq!(error.kind(), ErrorKind::System);
///     assert_eq!(error.operation(), "open");
///     assert_eq!(error.subject(), "/no/such/file");
///     assert_eq!(error.errno(), Some(2));
///     assert_eq!(error.to_string(), "/no/such/file: cannot open: No such file or directory");
/// }
/// # Ok::<(), Error>(())
/// ```
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    operation: &'static str,
    subject: OsString,
    errno: Option<i32>,
    cause: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What kind of thing went wrong.
///
/// ```
/// let error = ringmill::Error::other("no header in it");
/// assert_eq!(error.kind(), ringmill::ErrorKind::Other);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The system refused an operation on the item; [`Error::errno`] has its number.
    System,
    /// The input is nothing that could be tried: a path with a NUL byte, a name that is none.
    InvalidInput,
    /// The path leads to a FIFO, socket or device, which is not read unless asked for.
    SpecialFile,
    /// The file changed while it was read, and the run is strict about that.
    Changed,
    /// The item was not done within its time.
    TimedOut,
    /// Nothing was done about the item: what would have done it waits for calls that do not return.
    NotTried,
    /// No server has answered a name: they would not, or what they said was no answer.
    Unanswered,
    /// The run could not start: io_uring is not to be had, or the limit on open files is too low, or no
    /// thread could be started.
    Start,
    /// The run broke: its engine failed.
    Broken,
    /// Of a custom job's own making.
    Other,
}

impl Error {
    /// An error of a custom job's own making, with this text.
    ///
    /// ```
    /// let error = ringmill::Error::other("no header in it");
    /// assert_eq!(error.to_string(), "no header in it");
    /// assert_eq!(error.operation(), "");
    /// ```
    #[must_use]
    pub fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let source = error.into();
        let mut error = Self::new(ErrorKind::Other, "", b"", &source);
        error.0.source = Some(source);
        error
    }

    /// What kind of thing went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What failed: `open`, `read`, `stat`, `close`, `resolve`, `start`, `run`. Empty if a custom job
    /// made the error and did not say.
    #[must_use]
    pub fn operation(&self) -> &str {
        self.0.operation
    }

    /// What it failed on: the item's path or name. Empty if it is not about an item.
    #[must_use]
    pub fn subject(&self) -> &OsStr {
        &self.0.subject
    }

    /// The system's error number (`errno`), if the system has refused something.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        self.0.errno
    }

    pub(super) fn start(cause: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Start, "start", b"", cause)
    }

    pub(super) fn new(
        kind: ErrorKind,
        operation: &'static str,
        subject: &[u8],
        cause: impl fmt::Display,
    ) -> Self {
        Self(Box::new(Inner {
            kind,
            operation,
            subject: OsString::from_vec(subject.to_vec()),
            errno: None,
            cause: cause.to_string(),
            source: None,
        }))
    }

    fn with_errno(mut self, errno: Option<i32>) -> Self {
        self.0.errno = errno;
        self
    }

    /// The system has refused an operation on this.
    pub(super) fn system(operation: &'static str, subject: &[u8], errno: Errno) -> Self {
        Self::new(ErrorKind::System, operation, subject, errno).with_errno(Some(errno.raw()))
    }

    /// An item has failed.
    pub(super) fn of_item(error: &ItemError, subject: &[u8]) -> Self {
        let kind = match error.cause {
            Cause::Errno(_) => ErrorKind::System,
            Cause::NulInName => ErrorKind::InvalidInput,
            Cause::Special(_) => ErrorKind::SpecialFile,
            Cause::Output => ErrorKind::InvalidInput,
            Cause::Changed => ErrorKind::Changed,
            Cause::TimedOut { .. } => ErrorKind::TimedOut,
            Cause::NotTried { .. } => ErrorKind::NotTried,
        };
        let operation = error.operation.name();
        let errno = error.as_errno().map(Errno::raw);
        Self::new(kind, operation, subject, &error.cause).with_errno(errno)
    }
}

impl fmt::Display for Error {
    /// `SUBJECT: cannot OPERATION: CAUSE`, without what is empty. What a terminal obeys is escaped in the
    /// subject.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            operation,
            subject,
            cause,
            ..
        } = &*self.0;
        let mut escaped = Vec::new();
        write_escaped(&mut escaped, subject.as_bytes());
        f.write_str(&String::from_utf8_lossy(&escaped))?;
        if !subject.is_empty() {
            f.write_str(": ")?;
        }
        if !operation.is_empty() {
            write!(f, "cannot {operation}: ")?;
        }
        f.write_str(cause)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            kind,
            operation,
            subject,
            errno,
            cause,
            ..
        } = &*self.0;
        f.debug_struct("Error")
            .field("kind", kind)
            .field("operation", operation)
            .field("subject", subject)
            .field("errno", errno)
            .field("cause", cause)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source = self.0.source.as_deref()?;
        // Its text is this error's own.
        source.source()
    }
}

impl From<io::Error> for Error {
    /// The error of a call that a custom job made itself.
    fn from(error: io::Error) -> Self {
        let Some(errno) = error.raw_os_error() else {
            return Self::other(error);
        };
        Self::system("", b"", Errno::new(errno))
    }
}

impl From<Error> for io::Error {
    /// With the kind that belongs to the error number, and the whole text.
    fn from(error: Error) -> Self {
        let kind = match (error.errno(), error.kind()) {
            (Some(errno), _) => io::Error::from_raw_os_error(errno).kind(),
            (None, ErrorKind::TimedOut) => io::ErrorKind::TimedOut,
            (None, ErrorKind::InvalidInput) => io::ErrorKind::InvalidInput,
            (None, _) => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::start(&refusal).with_errno(refusal.errno.map(Errno::raw))
    }
}

impl From<Unfit> for Error {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Refused(refusal) => refusal.into(),
            Unfit::TooFewDescriptors { .. } => Self::start(unfit),
        }
    }
}

impl From<RunError> for Error {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Refused(refusal) => refusal.into(),
            RunError::Thread(_) => Self::start(error),
            RunError::Engine(ref cause) => {
                let errno = cause.raw_os_error();
                Self::new(ErrorKind::Broken, "run", b"", &error).with_errno(errno)
            }
        }
    }
}

impl From<InputError> for Error {
    fn from(error: InputError) -> Self {
        Self::new(ErrorKind::Broken, "run", b"", error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_becomes_an_io_error_of_the_same_kind_and_text() {
        let error = Error::system("open", b"a\nb", Errno::new(libc::ENOENT));
        let text = error.to_string();
        assert_eq!(text, "a\\nb: cannot open: No such file or directory");
        let error = io::Error::from(error);
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn the_error_of_a_call_keeps_its_number() {
        let error = Error::from(io::Error::from_raw_os_error(libc::EACCES));
        assert_eq!(error.errno(), Some(libc::EACCES));
        assert_eq!(error.to_string(), "Permission denied");
        let error = Error::from(io::Error::other("odd"));
        assert_eq!((error.errno(), error.to_string()), (None, "odd".to_owned()));
    }
}
