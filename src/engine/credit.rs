//! Whether a quick way that only works on a warm cache is worth trying.

/// Credit after a success, what a failure costs, and where the credit falls when it is used up. A
/// few failures among successes are forgiven; after that, so many tries are left out before the
/// next.
const MAX: i32 = 64;
const FAILURE_COST: i32 = 16;
const MIN: i32 = -64;

/// Trust in a quick way, earned by successes and lost by failures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Credit(i32);

impl Credit {
    /// Full trust.
    pub(crate) fn new() -> Self {
        Self(MAX)
    }

    /// True if nothing has failed since the last success.
    pub(crate) fn is_full(self) -> bool {
        self.0 == MAX
    }

    /// Asks whether to try. Each time the answer is no brings the next try nearer.
    pub(crate) fn try_it(&mut self) -> bool {
        let is_good = self.0 > 0;
        if !is_good {
            self.0 += 1;
        }
        is_good
    }

    /// Records how a try went.
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

    fn tries(credit: &mut Credit, questions: usize, succeed: bool) -> usize {
        let asked = (0..questions).filter(|_| {
            let tries = credit.try_it();
            if tries {
                credit.record(succeed);
            }
            tries
        });
        asked.count()
    }

    #[test]
    fn one_failure_among_successes_costs_nothing() {
        let mut credit = Credit::new();
        credit.record(false);
        assert_eq!(tries(&mut credit, 100, true), 100);
    }

    #[test]
    fn what_keeps_failing_is_tried_only_now_and_then() {
        let mut credit = Credit::new();
        assert!((10..=20).contains(&tries(&mut credit, 10 * 64, false)));
    }

    #[test]
    fn one_success_restores_all_trust() {
        let mut credit = Credit::new();
        tries(&mut credit, 1000, false);
        let waits = (0..).take_while(|_| !credit.try_it()).count();
        assert!(waits <= 64);
        credit.record(true);
        assert_eq!(tries(&mut credit, 100, true), 100);
    }
}
