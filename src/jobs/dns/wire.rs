//! The parts of a message (RFC 1035, section 4.1).

pub(super) const HEADER_LEN: usize = 12;

/// A section of a reply that has records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// The answer section: what was asked for.
    Answer,
    /// The authority section: which servers are responsible for the name.
    Authority,
    /// The additional section: mostly the addresses of those servers.
    Additional,
}

impl Section {
    /// Its name in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Authority => "authority",
            Self::Additional => "additional",
        }
    }
}
