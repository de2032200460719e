//! The error type of the interface.

use crate::error::{Cause, Errno, ItemError};
use crate::escape::write_escaped;
use crate::io::uring::Refusal;
use crate::run::{PlanError, RunError};
use crate::source::InputError;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::{fmt, io};

/// The error of an input, or of a run that could not start or broke: its kind, the operation that failed,
/// the subject it failed on, and the system's error number if the system reported one.
///
/// It converts from and to [`std::io::Error`].
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

/// The kind of an [`Error`].
///
/// ```
/// let error = ringmill::Error::other("no header in it");
/// assert_eq!(error.kind(), ringmill::ErrorKind::Other);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The system reported an error for the input; [`Error::errno`] has its number.
    System,
    /// The input is invalid: a path that contains a NUL byte, or a text that is not a domain name.
    InvalidInput,
    /// The path leads to a FIFO, socket or device, which is read only on request
    /// ([`Hash::read_special`](crate::Hash::read_special)).
    SpecialFile,
    /// The file changed while it was read, and the run is [`strict`](crate::Hash::strict) or the path came
    /// to lead to something that is not a regular file.
    Changed,
    /// The input was not finished within its timeout, or no server answered a name in time.
    TimedOut,
    /// The input was not begun within its timeout, because calls on its file system do not return.
    NotTried,
    /// No server has answered the query for a name: they refused, failed, were unreachable, or sent
    /// replies that are not answers.
    Unanswered,
    /// The run could not start: an option is out of its range, io_uring is not available, the limit on open
    /// files is too low, there is no DNS server, or a thread could not be started.
    Start,
    /// The run broke: its engine, io_uring or threads, failed.
    Broken,
    /// An error that a custom job made itself.
    Other,
}

impl Error {
    /// Makes an error of a custom job, with the text of the given error. Its kind is [`ErrorKind::Other`].
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

    /// The kind of the error.
    ///
    /// ```
    /// use ringmill::ErrorKind;
    ///
    /// for row in ringmill::hash(["/dev/null"]).start()? {
    ///     assert_eq!(row?.result.unwrap_err().kind(), ErrorKind::SpecialFile);
    /// }
    /// # Ok::<(), ringmill::Error>(())
    /// ```
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The operation that failed: `open`, `read`, `stat`, `close` or `resolve` for an input, `start` or
    /// `run` for a run. Empty if a custom job made the error itself.
    ///
    /// ```
    /// for row in ringmill::hash(["/proc"]).start()? {
    ///     let error = row?.result.unwrap_err();
    ///     assert_eq!(error.operation(), "read");
    ///     assert_eq!(error.to_string(), "/proc: cannot read: Is a directory");
    /// }
    /// # Ok::<(), ringmill::Error>(())
    /// ```
    #[must_use]
    pub fn operation(&self) -> &str {
        self.0.operation
    }

    /// The path or name that the operation failed on. Empty if the error does not concern one.
    ///
    /// ```
    /// for row in ringmill::hash(["no such file"]).start()? {
    ///     assert_eq!(row?.result.unwrap_err().subject(), "no such file");
    /// }
    /// # Ok::<(), ringmill::Error>(())
    /// ```
    #[must_use]
    pub fn subject(&self) -> &OsStr {
        &self.0.subject
    }

    /// The system's error number (`errno`), a positive number, if the system reported the error.
    ///
    /// ```
    /// use ringmill::Error;
    ///
    /// let refused = Error::from(std::io::Error::from_raw_os_error(13)); // EACCES
    /// assert_eq!(refused.errno(), Some(13));
    /// assert_eq!(Error::other("no header in it").errno(), None);
    /// ```
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

    /// The system reported this error for an operation on this subject.
    pub(super) fn system(operation: &'static str, subject: &[u8], errno: Errno) -> Self {
        Self::new(ErrorKind::System, operation, subject, errno).with_errno(Some(errno.raw()))
    }

    /// The error of an item.
    pub(super) fn of_item(error: &ItemError, subject: &[u8]) -> Self {
        Self::of_step(error.operation.name(), error, subject)
    }

    /// An item of a custom job was ended from outside, for example by its deadline. Between two operations of its
    /// own, a custom job may wait for anything, so no operation is named.
    pub(super) fn ended_from_outside(error: &ItemError) -> Self {
        Self::of_step("", error, b"")
    }

    fn of_step(operation: &'static str, error: &ItemError, subject: &[u8]) -> Self {
        let kind = match error.cause {
            Cause::Errno(_) => ErrorKind::System,
            Cause::NulInName => ErrorKind::InvalidInput,
            Cause::Special(_) => ErrorKind::SpecialFile,
            Cause::Output => ErrorKind::InvalidInput,
            Cause::Changed => ErrorKind::Changed,
            Cause::TimedOut { .. } => ErrorKind::TimedOut,
            Cause::NotTried { .. } => ErrorKind::NotTried,
        };
        let errno = error.as_errno().map(Errno::raw);
        Self::new(kind, operation, subject, &error.cause).with_errno(errno)
    }
}

impl fmt::Display for Error {
    /// `SUBJECT: cannot OPERATION: CAUSE`, without the parts that are empty. Characters of the subject that a
    /// terminal interprets are escaped.
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
        // This error has the text of `source` itself: the next in the chain is what caused that.
        source.source()
    }
}

impl From<io::Error> for Error {
    /// Keeps the error number if there is one. The subject and the operation are empty.
    fn from(error: io::Error) -> Self {
        let Some(errno) = error.raw_os_error() else {
            return Self::other(error);
        };
        Self::system("", b"", Errno::new(errno))
    }
}

impl From<Error> for io::Error {
    /// Keeps the text. The kind is that of the error number, if there is one.
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

impl From<PlanError> for Error {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Refused(refusal) => refusal.into(),
            PlanError::TooFewDescriptors { .. } => Self::start(error),
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
