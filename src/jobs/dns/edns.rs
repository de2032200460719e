//! Whether a server understands EDNS (RFC 6891), from its own words.

use std::time::Duration;

/// So many names that were answered without EDNS, and not with it, are proof.
const PROOFS: u32 = 2;

/// After this time EDNS is tried again.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// What is known of one server.
#[derive(Debug, Default)]
pub(super) struct Edns {
    /// A query with EDNS was answered.
    works: bool,
    proofs: u32,
    plain_until: Option<Duration>,
}

impl Edns {
    /// True if a query had better have the option.
    pub(super) fn is_used(&self, now: Duration) -> bool {
        self.plain_until.is_none_or(|until| until <= now)
    }

    /// True if no query with the option was ever answered. Silence or SERVFAIL may then be due to it.
    pub(super) fn is_in_doubt(&self) -> bool {
        !self.works
    }

    /// A query with the option was answered.
    pub(super) fn worked(&mut self) {
        self.works = true;
        self.proofs = 0;
        self.plain_until = None;
    }

    /// A name was answered without the option that was not answered with it.
    pub(super) fn failed(&mut self, now: Duration) {
        self.proofs += 1;
        if self.proofs >= PROOFS {
            self.proofs = 0;
            self.works = false;
            self.plain_until = Some(now + FORGET_AFTER);
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
        assert!(edns.is_used(now + FORGET_AFTER));
        edns.worked();
        assert!(edns.is_used(now) && !edns.is_in_doubt());
    }
}
