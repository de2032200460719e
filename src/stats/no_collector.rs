//! In place of the collector where latencies cannot be recorded: nothing is.

use super::{Detail, Phase};
use std::sync::Arc;

/// There is none.
#[derive(Debug)]
pub enum Collector {}

/// What records nothing.
#[derive(Debug)]
pub struct Recorder;

impl Recorder {
    /// There is no collector.
    #[must_use]
    pub fn new(_: Option<Arc<Collector>>) -> Self {
        Self
    }

    /// False.
    #[inline]
    #[must_use]
    pub fn records(&self, _: Detail) -> bool {
        false
    }

    /// Does nothing.
    #[inline]
    pub fn record(&mut self, _: Phase, _latency_ns: u64) {}

    /// There is nothing to publish.
    #[must_use]
    pub fn publish_at_ns(&self) -> Option<u64> {
        None
    }

    /// Does nothing.
    #[inline]
    pub fn publish_if_due(&mut self, _now_ns: u64) {}

    /// Does nothing.
    pub fn publish_early(&mut self) {}
}
