//! Whether an errno that reports resource exhaustion is to be believed.
//!
//! A file system may return any errno for reasons of its own: ENFILE from a FUSE server, or EAGAIN
//! because of a lease, says nothing about this process. The errno itself does not show the
//! difference. So each time, a small call that needs the same resource is made at once
//! ([`Carrier::is_exhausted`]). If that fails, too, the exhaustion is real, and the operation is
//! retried for as long as anything could free something. If it succeeds several times, with pauses
//! between, the errno is the item's own. There is one exception: the server may allow us only a
//! certain number of open files, and then the exhaustion ends when we have fewer open. So a failure
//! counts only if workers had at most half as many files open as they once could.
//!
//! On a loop, other operations come between an operation and that call, so a loop decides nothing:
//! if it finds no resource exhausted, it gives the item to a worker.
//!
//! [`Carrier::is_exhausted`]: super::Carrier::is_exhausted

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Pauses of a worker before an operation is retried. The item could be restarted instead, as it is
/// for lack of a descriptor, which other items hold. But then much work would be lost, and on a
/// busy system a large file would never be read to its end.
const PAUSES_MS: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];

/// Unexplained failures after which an errno is the item's own. The last is 15 ms after the first,
/// so that a server may be short of something for a moment.
const UNEXPLAINED_MAX: u8 = 5;

/// This many open files are few for any server.
const FEW: usize = 4;

/// How often a pause checks whether few files are open by now.
const CHECK_INTERVAL: Duration = Duration::from_millis(1);

/// The files that all workers of a run have open.
#[derive(Debug, Default)]
pub(crate) struct OpenFiles {
    now: AtomicUsize,
    peak: AtomicUsize,
}

impl OpenFiles {
    pub(super) fn opened(&self) {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        if now > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(now, Ordering::Relaxed);
        }
    }

    pub(super) fn closed(&self) {
        self.now.fetch_sub(1, Ordering::Relaxed);
    }

    /// True if, not counting those of one item, at most half as many files are open as once could
    /// be, or at most [`FEW`]. Half, because a server may learn late that a file was closed.
    pub(super) fn are_few(&self, of_item: usize) -> bool {
        let now = self.now.load(Ordering::Relaxed);
        let few = (self.peak.load(Ordering::Relaxed) / 2).max(FEW);
        now.saturating_sub(of_item) <= few
    }
}

/// How often an operation on a worker has failed because a resource was exhausted, or seemed to be.
/// A failure is explained if a resource was exhausted or many files were open.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Failures {
    explained: u8,
    unexplained: u8,
}

/// What to do about another failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Try again after this time.
    TryAgain(Duration),
    /// Try again when few files are open, or after this time.
    TryWhenFewAreOpen(Duration),
    /// Leave the item to the loop, which waits until something is freed.
    LeaveToLoop,
    /// Nothing is exhausted: the errno is the item's own.
    GiveUp,
}

impl Failures {
    /// Counts a failure. `is_exhausted` is what was found at that time; `few_open` says whether few
    /// files were open then.
    pub(super) fn add(
        &mut self,
        is_exhausted: bool,
        few_open: bool,
        lacks_descriptor: bool,
    ) -> Remedy {
        if is_exhausted && lacks_descriptor {
            return Remedy::LeaveToLoop;
        }
        let is_explained = is_exhausted || !few_open;
        let count = if is_explained {
            &mut self.explained
        } else {
            &mut self.unexplained
        };
        let pause_ms = PAUSES_MS.get(usize::from(*count));
        *count += 1;
        if self.unexplained == UNEXPLAINED_MAX {
            return Remedy::GiveUp;
        }
        match pause_ms.map(|ms| Duration::from_millis(*ms)) {
            None => Remedy::LeaveToLoop,
            Some(pause) if is_explained && !is_exhausted => Remedy::TryWhenFewAreOpen(pause),
            Some(pause) => Remedy::TryAgain(pause),
        }
    }
}

/// Pauses for this time in short parts, by `pause`, or until `is_over`.
pub(super) fn pause_until(
    is_over: impl Fn() -> bool,
    time: Duration,
    mut pause: impl FnMut(Duration),
) {
    let mut left = time;
    while !left.is_zero() && !is_over() {
        let part = left.min(CHECK_INTERVAL);
        pause(part);
        left -= part;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_is_exhausted_is_waited_for_and_then_left_to_the_loop() {
        let mut failures = Failures::default();
        for pause_ms in PAUSES_MS {
            let pause = Duration::from_millis(pause_ms);
            assert_eq!(failures.add(true, true, false), Remedy::TryAgain(pause));
        }
        assert_eq!(failures.add(true, true, false), Remedy::LeaveToLoop);
    }

    #[test]
    fn other_items_may_free_a_descriptor() {
        let remedy = Failures::default().add(true, true, true);
        assert_eq!(remedy, Remedy::LeaveToLoop);
    }

    #[test]
    fn an_errno_is_the_items_own_when_nothing_was_exhausted_several_times() {
        for lacks_descriptor in [false, true] {
            let mut failures = Failures::default();
            for _ in 1..UNEXPLAINED_MAX {
                let remedy = failures.add(false, true, lacks_descriptor);
                assert!(matches!(remedy, Remedy::TryAgain(_)));
            }
            let remedy = failures.add(false, true, lacks_descriptor);
            assert_eq!(remedy, Remedy::GiveUp);
        }
    }

    #[test]
    fn a_server_that_can_have_no_more_files_open_is_left_to_the_loop() {
        let files = OpenFiles::default();
        (0..20).for_each(|_| files.opened());
        let mut failures = Failures::default();
        for _ in PAUSES_MS {
            let remedy = failures.add(false, files.are_few(0), true);
            assert!(matches!(remedy, Remedy::TryWhenFewAreOpen(_)));
        }
        let remedy = failures.add(false, files.are_few(0), true);
        assert_eq!(remedy, Remedy::LeaveToLoop);
    }

    #[test]
    fn a_pause_ends_early_when_it_may() {
        let passed = Cell::new(Duration::ZERO);
        let pause = |time| passed.set(passed.get() + time);
        let ms = Duration::from_millis;
        pause_until(|| passed.get() >= ms(3), ms(64), pause);
        assert_eq!(passed.take(), ms(3));
        pause_until(|| false, ms(64), pause);
        assert_eq!(passed.take(), ms(64));
    }

    #[test]
    fn files_are_few_when_twice_as_many_could_be_opened() {
        let files = OpenFiles::default();
        (0..FEW).for_each(|_| files.opened());
        assert!(files.are_few(0));
        (FEW..4 * FEW).for_each(|_| files.opened());
        assert!(!files.are_few(0));
        assert!(files.are_few(2 * FEW));
        (0..2 * FEW).for_each(|_| files.closed());
        assert!(files.are_few(0));
    }
}
