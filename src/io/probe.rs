//! Whether a fast path that only works on a warm cache is worth trying.

/// The score after a success, the cost of a failure, and the score when it is used up. A few
/// failures among successes change nothing. After that, as many attempts are skipped as it takes
/// the score to rise above 0.
const MAX: i32 = 64;
const FAILURE_COST: i32 = 16;
const MIN: i32 = -64;

/// Decides whether to try a fast path: yes while it succeeds, now and then while it fails.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdaptiveProbe(i32);

impl AdaptiveProbe {
    /// A probe whose next attempt is due.
    pub(crate) fn new() -> Self {
        Self(MAX)
    }

    /// True if the fast path is to be tried. Each attempt that is skipped brings the next one
    /// nearer.
    pub(crate) fn is_due(&mut self) -> bool {
        let is_good = self.0 > 0;
        if !is_good {
            self.0 += 1;
        }
        is_good
    }

    /// Records the result of an attempt.
    pub(crate) fn record(&mut self, succeeded: bool) {
        self.0 = if succeeded {
            MAX
        } else if self.0 > FAILURE_COST {
            self.0 - FAILURE_COST
        } else {
            MIN
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tries(probe: &mut AdaptiveProbe, questions: usize, succeed: bool) -> usize {
        let asked = (0..questions).filter(|_| {
            let tries = probe.is_due();
            if tries {
                probe.record(succeed);
            }
            tries
        });
        asked.count()
    }

    #[test]
    fn one_failure_among_successes_costs_nothing() {
        let mut probe = AdaptiveProbe::new();
        probe.record(false);
        assert_eq!(tries(&mut probe, 100, true), 100);
    }

    #[test]
    fn what_keeps_failing_is_tried_only_now_and_then() {
        let mut probe = AdaptiveProbe::new();
        assert!((10..=20).contains(&tries(&mut probe, 10 * 64, false)));
    }

    #[test]
    fn one_success_restores_everything() {
        let mut probe = AdaptiveProbe::new();
        tries(&mut probe, 1000, false);
        let waits = (0..).take_while(|_| !probe.is_due()).count();
        assert!(waits <= 64);
        probe.record(true);
        assert_eq!(tries(&mut probe, 100, true), 100);
    }
}
