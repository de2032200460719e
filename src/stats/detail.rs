//! The level of detail of recorded latencies.

/// What is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// Whole items.
    Totals,
    /// Whole items and all phases.
    Phases,
}
