//! How a question ended.

use domain::base::iana::OptRcode;
use std::fmt;

/// How a question ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// There are records, or only aliases that lead to none.
    NoError,
    /// The name exists, but has no records of that type.
    NoData,
    /// There is no such name.
    NxDomain,
    /// The server has no answer, and names others that may have one.
    Referral,
    /// The reply claims to be an answer, but no record of it can be read.
    Malformed,
    /// No server gave an answer; the last one replied with this code.
    Rcode(OptRcode),
    /// No server answered in time.
    Timeout,
    /// Nothing listens at the addresses of the servers.
    Unreachable,
    /// The answer did not fit into a datagram, and no stream delivered all of it.
    Truncated,
}

impl Status {
    /// True if the question has been answered; negative answers count.
    #[must_use]
    pub fn is_definite(self) -> bool {
        matches!(self, Self::NoError | Self::NoData | Self::NxDomain)
    }

    /// Its name; `None` if it is a code of the server.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::NoError => "NOERROR",
            Self::NoData => "NODATA",
            Self::NxDomain => "NXDOMAIN",
            Self::Referral => "REFERRAL",
            Self::Malformed => "MALFORMED",
            Self::Rcode(_) => return None,
            Self::Timeout => "TIMEOUT",
            Self::Unreachable => "UNREACHABLE",
            Self::Truncated => "TRUNCATED",
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.name()) {
            (Self::Rcode(rcode), _) => rcode.fmt(f),
            (_, name) => f.write_str(name.unwrap_or_default()),
        }
    }
}
