//! Why there can be no run.

use crate::error::Errno;
use crate::io::uring::Refusal;
use crate::run::RunError;
use crate::sink::messages;
use std::io;

/// Why there can be no run, or why it ended as a whole.
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

    /// The same with a way out.
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

    /// Tells it on standard error.
    pub(super) fn tell(&self) {
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
                "" => "--engine threads does without io_uring".to_owned(),
                hint => format!("--engine threads does without io_uring; {hint}"),
            }),
        }
    }
}
