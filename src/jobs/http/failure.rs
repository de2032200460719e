//! Why a request has no response, or only a part of one.

use crate::jobs::connect::Unresolved;
use std::fmt::Display;
use std::io;
use std::time::Duration;

/// The step of a request that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Looking up the host's addresses.
    Resolve,
    /// Connecting.
    Connect,
    /// The TLS handshake.
    Tls,
    /// Sending the request and receiving the head of the response.
    Request,
    /// Receiving the body.
    Body,
    /// Following a redirect.
    Redirect,
    /// Writing the body to a file.
    Write,
}

impl Step {
    /// The word in rows.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Request => "request",
            Self::Body => "body",
            Self::Redirect => "redirect",
            Self::Write => "write",
        }
    }
}

/// A failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The step that failed.
    pub step: Step,
    /// Why, in words.
    pub message: String,
    /// What a further attempt could do.
    pub(super) outlook: Outlook,
    /// The connection ended or failed before there was a response.
    pub(super) is_lost_connection: bool,
}

/// What a further attempt could do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outlook {
    /// It would fail as well.
    Permanent,
    /// It would fail as well, and this one was no attempt: it was not begun.
    NotBegun,
    /// It may succeed, and the server has not seen the request.
    NotSent,
    /// It may succeed, but the server may have processed the request already.
    MayBeProcessed,
}

impl Failure {
    /// A failure at a step. Whether the request was sent follows from the step.
    pub fn new(step: Step, reason: impl Display) -> Self {
        let outlook = match step {
            Step::Connect | Step::Tls => Outlook::NotSent,
            Step::Request | Step::Body => Outlook::MayBeProcessed,
            // Lookups have retries of their own.
            Step::Resolve | Step::Redirect | Step::Write => Outlook::Permanent,
        };
        let message = reason.to_string();
        Self {
            step,
            message,
            outlook,
            is_lost_connection: false,
        }
    }

    pub(super) fn permanent(mut self) -> Self {
        self.outlook = Outlook::Permanent;
        self
    }

    pub(super) fn not_sent(mut self) -> Self {
        self.outlook = Outlook::NotSent;
        self
    }

    /// The failure of a request that was not sent because of a pause that its origin has asked for.
    pub(super) fn of_pause(pause: Duration) -> Self {
        let pause = Duration::from_secs(pause.as_secs().min(u32::MAX.into()));
        let pause = humantime::format_duration(pause);
        let reason = format_args!(
            "not sent: the server wants no requests for another {pause}, longer than --retry-after-max"
        );
        Self {
            outlook: Outlook::NotBegun,
            ..Self::new(Step::Request, reason)
        }
    }

    pub(super) fn timed_out(step: Step, timeout: Duration) -> Self {
        Self::new(
            step,
            format_args!("timed out after {}", humantime::format_duration(timeout)),
        )
    }

    /// The failure that a handshake ended with.
    pub(super) fn of_tls(error: &io::Error) -> Self {
        let cause = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match cause {
            Some(cause) => Self::new(Step::Tls, cause).permanent(),
            None if error.kind() == io::ErrorKind::UnexpectedEof => Self::new(
                Step::Tls,
                "the server closed the connection during the handshake",
            ),
            None => Self::new(Step::Tls, error),
        }
    }

    /// The connection failed at a step.
    pub(super) fn of_connection(step: Step, error: &io::Error) -> Self {
        Self {
            is_lost_connection: step == Step::Request,
            ..Self::new(step, error)
        }
    }

    /// The connection ended at a step.
    pub(super) fn of_end(step: Step) -> Self {
        let reason = match step {
            Step::Body => "the connection was closed before the end of the body",
            _ => "the connection was closed before a response",
        };
        Self {
            is_lost_connection: step == Step::Request,
            ..Self::new(step, reason)
        }
    }
}

impl From<Unresolved> for Failure {
    fn from(reason: Unresolved) -> Self {
        Self::new(Step::Resolve, reason)
    }
}
