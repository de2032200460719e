//! The parts into which an item's time is divided.

/// What an item's time was spent on. Jobs have different phases; each has its own name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(usize)]
pub enum Phase {
    /// From the pull to the first submission.
    Queue,
    /// From the first submission to the first query: until a server had room for the question.
    Wait,
    /// The query that was answered, until its reply.
    Query,
    /// A look-up of the path before it is opened.
    LookUp,
    /// An open.
    Open,
    /// One read.
    Read,
    /// The hashing of what one read gave.
    Hash,
    /// A look at the metadata of the open file.
    Stat,
    /// A close.
    Close,
    /// From the first submission to the last completion: the service time of the item.
    Total,
    /// From the result to its emission, while earlier items were waited for.
    Reorder,
    /// From the moment the schedule of `--rate` meant the item to start to its first submission.
    ScheduledQueue,
    /// From the moment the schedule of `--rate` meant the item to start to its last completion: what
    /// a user of the measured system would have seen.
    ScheduledTotal,
}

impl Phase {
    /// All phases, in the order of an item's life; those measured from a schedule come last.
    pub const ALL: [Self; 13] = [
        Self::Queue,
        Self::Wait,
        Self::Query,
        Self::LookUp,
        Self::Open,
        Self::Read,
        Self::Hash,
        Self::Stat,
        Self::Close,
        Self::Total,
        Self::Reorder,
        Self::ScheduledQueue,
        Self::ScheduledTotal,
    ];

    /// The name in tables, in files and as a tag of interval logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Wait => "wait",
            Self::Query => "query",
            Self::LookUp => "lookup",
            Self::Open => "open",
            Self::Read => "read",
            Self::Hash => "hash",
            Self::Stat => "stat",
            Self::Close => "close",
            Self::Total => "total",
            Self::Reorder => "reorder",
            Self::ScheduledQueue => "scheduled-queue",
            Self::ScheduledTotal => "scheduled-total",
        }
    }

    /// True for what is measured from a schedule, not from when things really began.
    #[must_use]
    pub fn is_scheduled(self) -> bool {
        matches!(self, Self::ScheduledQueue | Self::ScheduledTotal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_stands_at_its_own_place() {
        for (at, phase) in Phase::ALL.into_iter().enumerate() {
            assert_eq!(phase as usize, at);
        }
    }
}
