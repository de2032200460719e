//! How the process ends.

/// How the process ends.
pub(super) enum Outcome {
    /// No item failed.
    AllWell,
    /// Some items failed.
    SomeFailed,
    /// The run as a whole failed: usage, set-up, reading the list, or writing the output.
    RunFailed,
    /// A signal, which is raised again so that the shell sees it.
    Signal(i32),
}

impl Outcome {
    /// The one of the two that the exit code should report.
    pub(super) fn worst(self, other: Self) -> Self {
        match (&self, &other) {
            (Self::Signal(_), _) => self,
            (_, Self::Signal(_)) => other,
            (Self::RunFailed, _) | (_, Self::AllWell) => self,
            _ => other,
        }
    }
}
