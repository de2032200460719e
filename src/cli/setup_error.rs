//! Errors of the run as a whole, for standard error.

use crate::error::Errno;
use crate::io::uring::Refusal;
use crate::run::RunError;
use crate::sink::messages;
use std::io;

/// Why a run cannot start, or why it failed as a whole.
pub(super) struct SetupError {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl SetupError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
        }
    }

    /// The same error with a hint how to avoid it.
    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// `NAME: cannot OPERATION: CAUSE`.
    pub(super) fn io(name: &str, operation: &str, error: &io::Error) -> Self {
        let cause = Errno::from(error);
        Self::new(format!("{name}: cannot {operation}: {cause}"))
    }

    /// Prints it on standard error.
    pub(super) fn report(&self) {
        messages::about_run(&self.message);
        if let Some(hint) = &self.hint {
            messages::hint(hint);
        }
    }
}

impl From<RunError> for SetupError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Refused(refusal) => refusal.into(),
            other => Self::new(other.to_string()),
        }
    }
}

impl From<Refusal> for SetupError {
    fn from(refusal: Refusal) -> Self {
        Self {
            message: refusal.to_string(),
            hint: Some(match refusal.hint {
                "" => "--engine threads does not need io_uring".to_owned(),
                hint => format!("--engine threads does not need io_uring; {hint}"),
            }),
        }
    }
}
