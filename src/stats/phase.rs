//! The parts into which an item's time is divided.

/// A part of an item's time.
///
/// The phases that a run records for every job are constants of this type; a job defines its own
/// with [`Phase::of_job`]. The table of a job lists all phases that its items can have, in the order
/// of an item's life; those measured from a schedule come last. All output keeps that order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Phase {
    id: u8,
    name: &'static str,
}

/// The first of the ids that are for phases of jobs.
pub(super) const FIRST_OF_JOB: u8 = 32;

/// How many phases a job can define.
pub(super) const OF_JOB_MAX: u8 = u8::MAX - FIRST_OF_JOB;

impl Phase {
    /// From the pull to the first submission.
    pub const QUEUE: Self = Self::common(0, "queue");
    /// A look-up of the path before it is opened.
    pub const LOOK_UP: Self = Self::common(1, "lookup");
    /// An open.
    pub const OPEN: Self = Self::common(2, "open");
    /// One read.
    pub const READ: Self = Self::common(3, "read");
    /// A query of the open file's metadata.
    pub const STAT: Self = Self::common(4, "stat");
    /// A close.
    pub const CLOSE: Self = Self::common(5, "close");
    /// From the first submission to the last completion: the service time of the item.
    pub const TOTAL: Self = Self::common(6, "total");
    /// From the result to its emission, while it waits for earlier items.
    pub const REORDER: Self = Self::common(7, "reorder");
    /// From when the item was due by the schedule of a rate to its first submission.
    pub const SCHEDULED_QUEUE: Self = Self::common(8, "scheduled-queue");
    /// From when the item was due by the schedule of a rate to its last completion: the latency that a user
    /// of the measured system would have seen.
    pub const SCHEDULED_TOTAL: Self = Self::common(9, "scheduled-total");

    /// The table of a job that has no phases of its own.
    pub const COMMON: &'static [Self] = &[
        Self::QUEUE,
        Self::LOOK_UP,
        Self::OPEN,
        Self::READ,
        Self::STAT,
        Self::CLOSE,
        Self::TOTAL,
        Self::REORDER,
        Self::SCHEDULED_QUEUE,
        Self::SCHEDULED_TOTAL,
    ];

    const fn common(id: u8, name: &'static str) -> Self {
        assert!(id < FIRST_OF_JOB);
        Self { id, name }
    }

    /// A phase of a job, by a number that no other phase of the same job has, and a name.
    ///
    /// The name appears in tables, as a key in documents, as a tag in interval logs and in the names
    /// of files. The prefix `scheduled-` marks a phase that is measured from a schedule.
    ///
    /// ```
    /// # use ringmill::stats::Phase;
    /// const HANDSHAKE: Phase = Phase::of_job(0, "handshake");
    /// const PHASES: &[Phase] = &[Phase::QUEUE, HANDSHAKE, Phase::TOTAL, Phase::REORDER];
    /// ```
    ///
    /// # Panics
    /// If the number is not less than 223, or the name is empty or contains a character other than
    /// `a` to `z`, `0` to `9` and `-`. In a constant, this is an error at compile time.
    #[must_use]
    pub const fn of_job(number: u8, name: &'static str) -> Self {
        assert!(number < OF_JOB_MAX, "the number of a phase is too high");
        let bytes = name.as_bytes();
        assert!(!bytes.is_empty(), "the name of a phase is empty");
        let mut at = 0;
        while at < bytes.len() {
            assert!(
                matches!(bytes[at], b'a'..=b'z' | b'0'..=b'9' | b'-'),
                "the name of a phase contains a character other than a-z, 0-9 and -"
            );
            at += 1;
        }
        let id = FIRST_OF_JOB + number;
        Self { id, name }
    }

    /// The name in tables, in files and as a tag of interval logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// Unique within a table.
    #[cfg(feature = "latency")]
    pub(super) const fn id(self) -> u8 {
        self.id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "contains a character other than")]
    fn names_are_valid_tags() {
        let _ = Phase::of_job(0, "a,b");
    }
}
