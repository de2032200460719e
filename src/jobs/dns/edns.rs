//! Whether a server supports EDNS (RFC 6891), learned from its replies.

use std::time::Duration;

/// This many names that were answered without EDNS, but not with it, are proof.
const PROOFS: u32 = 2;

/// After this time EDNS is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(600);

/// What is known about one server.
#[derive(Debug, Default)]
pub(super) struct Edns {
    /// A query with EDNS was answered.
    works: bool,
    proofs: u32,
    disabled_until: Option<Duration>,
}

impl Edns {
    /// True if queries should have the OPT record.
    pub(super) fn is_used(&self, now: Duration) -> bool {
        self.disabled_until.is_none_or(|until| until <= now)
    }

    /// True if no query with the OPT record was ever answered. Silence or SERVFAIL may then be due to it.
    pub(super) fn is_in_doubt(&self) -> bool {
        !self.works
    }

    /// A query with the OPT record was answered.
    pub(super) fn worked(&mut self) {
        self.works = true;
        self.proofs = 0;
        self.disabled_until = None;
    }

    /// A name was answered without the OPT record, but not with it.
    pub(super) fn failed(&mut self, now: Duration) {
        self.proofs += 1;
        if self.proofs >= PROOFS {
            self.proofs = 0;
            self.works = false;
            self.disabled_until = Some(now + RETRY_AFTER);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_names_are_proof_for_a_while() {
        let (mut edns, now) = (Edns::default(), Duration::from_secs(1));
        assert!(edns.is_used(now) && edns.is_in_doubt());
        edns.failed(now);
        assert!(edns.is_used(now));
        edns.failed(now);
        assert!(!edns.is_used(now));
        assert!(edns.is_used(now + RETRY_AFTER));
        edns.worked();
        assert!(edns.is_used(now) && !edns.is_in_doubt());
    }
}
