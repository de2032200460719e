//! Replaces the collector in builds without latencies: records nothing.

use super::{Detail, Phase};
use std::sync::Arc;

/// Has no values.
#[derive(Debug)]
pub enum Collector {}

/// A recorder that records nothing.
#[derive(Debug)]
pub struct Recorder;

impl Recorder {
    /// A recorder without a collector.
    #[must_use]
    pub fn new(_: Option<Arc<Collector>>) -> Self {
        Self
    }

    /// Always false.
    #[inline]
    #[must_use]
    pub fn records(&self, _: Detail) -> bool {
        false
    }

    /// Does nothing.
    #[inline]
    pub fn record(&mut self, _: Phase, _latency_ns: u64) {}

    /// `None`: there is nothing to publish.
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
