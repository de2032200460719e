//! The status of a row: that of its answer, or that its line is not a question.

use super::job::Found;
use super::status::Status;
use domain::base::iana::OptRcode;
use std::fmt;
use std::str::FromStr;

/// The value of the field `status` of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowStatus {
    /// The line is a question, which ended with this status.
    Asked(Status),
    /// The line is not a question.
    Invalid,
}

/// A word that is not the status of any row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownStatus;

/// The statuses that have a name, in the order in which messages list them.
const NAMED: [RowStatus; 20] = [
    RowStatus::Asked(Status::NoError),
    RowStatus::Asked(Status::NoData),
    RowStatus::Asked(Status::NxDomain),
    RowStatus::Asked(Status::Referral),
    RowStatus::Asked(Status::Malformed),
    RowStatus::Asked(Status::Timeout),
    RowStatus::Asked(Status::Unreachable),
    RowStatus::Asked(Status::Truncated),
    RowStatus::Invalid,
    RowStatus::Asked(Status::Rcode(OptRcode::FORMERR)),
    RowStatus::Asked(Status::Rcode(OptRcode::SERVFAIL)),
    RowStatus::Asked(Status::Rcode(OptRcode::NOTIMP)),
    RowStatus::Asked(Status::Rcode(OptRcode::REFUSED)),
    RowStatus::Asked(Status::Rcode(OptRcode::YXDOMAIN)),
    RowStatus::Asked(Status::Rcode(OptRcode::YXRRSET)),
    RowStatus::Asked(Status::Rcode(OptRcode::NXRRSET)),
    RowStatus::Asked(Status::Rcode(OptRcode::NOTAUTH)),
    RowStatus::Asked(Status::Rcode(OptRcode::NOTZONE)),
    RowStatus::Asked(Status::Rcode(OptRcode::BADVERS)),
    RowStatus::Asked(Status::Rcode(OptRcode::BADCOOKIE)),
];

/// The largest code of a reply (RFC 6891, 6.1.3).
const RCODE_MAX: u16 = 0xFFF;

impl RowStatus {
    /// The status of the row for the result of an item.
    #[must_use]
    pub fn of(found: &Found) -> Self {
        match found {
            Ok(answer) => Self::Asked(answer.status),
            Err(_) => Self::Invalid,
        }
    }

    /// True if the row is a failure.
    #[must_use]
    pub fn is_failure(self) -> bool {
        !matches!(self, Self::Asked(status) if status.is_definite())
    }
}

impl fmt::Display for RowStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked(status) => status.fmt(f),
            Self::Invalid => f.write_str("INVALID"),
        }
    }
}

/// Reads a name in either case or, for a code without a name, its number, as in rows.
impl FromStr for RowStatus {
    type Err = UnknownStatus;

    fn from_str(word: &str) -> Result<Self, UnknownStatus> {
        let word_is = |status: &Self| status.to_string().eq_ignore_ascii_case(word);
        if let Some(status) = NAMED.into_iter().find(word_is) {
            return Ok(status);
        }
        let code = word.parse().ok().filter(|code| *code <= RCODE_MAX);
        let code = code.map(OptRcode::masked_from_int);
        let unnamed = code.filter(|code| code.to_mnemonic().is_none());
        unnamed.map_or(Err(UnknownStatus), |code| {
            Ok(Self::Asked(Status::Rcode(code)))
        })
    }
}

impl fmt::Display for UnknownStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such status; there are ")?;
        for status in NAMED {
            write!(f, "{status}, ")?;
        }
        f.write_str("and numbers for codes without a name")
    }
}

impl std::error::Error for UnknownStatus {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_as_rows_have_it() {
        for status in NAMED {
            let name = status.to_string();
            assert_eq!(name.parse(), Ok(status));
            assert_eq!(name.to_lowercase().parse(), Ok(status));
        }
        let unnamed = RowStatus::Asked(Status::Rcode(OptRcode::masked_from_int(12)));
        assert_eq!(unnamed.to_string().parse(), Ok(unnamed));
        // 2 is SERVFAIL in rows.
        for word in ["", "NOERR", "NOERROR ", "2", "4096", "-1"] {
            assert_eq!(word.parse::<RowStatus>(), Err(UnknownStatus), "{word:?}");
        }
        let message = UnknownStatus.to_string();
        let pieces = ["NOERROR, NODATA, NXDOMAIN, ", " INVALID, ", " SERVFAIL, "];
        assert!(
            pieces.iter().all(|piece| message.contains(piece)),
            "{message}"
        );
    }

    #[test]
    fn only_definite_answers_are_no_failures() {
        let definite = NAMED.into_iter().filter(|status| !status.is_failure());
        let names: Vec<String> = definite.map(|status| status.to_string()).collect();
        assert_eq!(names, ["NOERROR", "NODATA", "NXDOMAIN"]);
    }
}
