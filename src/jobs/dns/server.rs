//! What is known of one server: how quick it is, how much it bears, whether it is there.

use std::net::SocketAddr;
use std::time::Duration;

/// The shortest and the longest time a reply is waited for, and the time for the first ones.
/// These and [`TIMES_THE_AVERAGE`] are c-ares' (`ares_metrics.c`), which has them from experience.
const TIMEOUT_MIN: Duration = Duration::from_millis(250);
const TIMEOUT_MAX: Duration = Duration::from_secs(5);
const TIMEOUT_AT_FIRST: Duration = Duration::from_secs(2);
const TIMES_THE_AVERAGE: u32 = 5;

/// Queries under way at one time, at first and at least.
const LIMIT_AT_FIRST: usize = 32;
const LIMIT_MIN: usize = 4;
/// What the limit grows by after a round without losses, once it has been found.
const LIMIT_STEP: usize = 8;

/// Losses of one round, in hundredths, that stop the limit from growing, and that make it shrink.
/// Networks lose a few packets whatever one does: to shrink for those would get nowhere.
const LOSS_TO_STAY: usize = 2;
const LOSS_TO_SHRINK: usize = 10;

/// Failures in a row after which a server is set aside.
const FAILURES_MAX: u32 = 16;
/// How long it is left alone before it is probed, at first and at most.
const ASIDE_AT_FIRST: Duration = Duration::from_millis(100);
const ASIDE_MAX: Duration = Duration::from_secs(5);

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// A reply came, after this time.
    Answered(Duration),
    /// No reply came in time.
    Lost,
    /// It said that it cannot, or will not (SERVFAIL, REFUSED).
    Unwilling,
    /// Nobody is there: the port is closed.
    Absent,
    /// It has ended the stream, as it may at any time.
    Closed,
}

/// One server, as this loop knows it.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    /// It does not understand EDNS.
    pub(super) is_plain: bool,
    average: Option<Duration>,
    quickest: Duration,
    limit: usize,
    limit_max: usize,
    /// The limit was never too much yet, so that it may grow quickly.
    explores: bool,
    under_way: usize,
    round: Round,
    failures: u32,
    aside: Option<Aside>,
}

/// The last attempts, as many as are under way at one time.
#[derive(Debug, Default)]
struct Round {
    ended: usize,
    lost: usize,
    was_full: bool,
}

#[derive(Debug)]
struct Aside {
    until: Duration,
    length: Duration,
    is_probed: bool,
}

impl Server {
    pub(super) fn new(address: SocketAddr, limit_max: usize) -> Self {
        Self {
            address,
            is_plain: false,
            average: None,
            quickest: Duration::MAX,
            limit: LIMIT_AT_FIRST.min(limit_max),
            limit_max,
            explores: true,
            under_way: 0,
            round: Round::default(),
            failures: 0,
            aside: None,
        }
    }

    /// True if it may be asked one more question now.
    pub(super) fn has_room(&self, now: Duration) -> bool {
        match &self.aside {
            Some(aside) => !aside.is_probed && aside.until <= now,
            None => self.under_way < self.limit,
        }
    }

    /// The share of what it bears that is under way.
    pub(super) fn load(&self) -> f64 {
        #[allow(clippy::cast_precision_loss)]
        let load = self.under_way as f64 / self.limit as f64;
        load
    }

    /// When it is to be probed, if it has been set aside and is not being probed.
    pub(super) fn probe_at(&self) -> Option<Duration> {
        let aside = self.aside.as_ref()?;
        (!aside.is_probed).then_some(aside.until)
    }

    /// How long the next reply is waited for.
    pub(super) fn timeout(&self) -> Duration {
        self.average.map_or(TIMEOUT_AT_FIRST, |average| {
            (average * TIMES_THE_AVERAGE).clamp(TIMEOUT_MIN, TIMEOUT_MAX)
        })
    }

    /// A question is asked.
    pub(super) fn ask(&mut self) {
        self.under_way += 1;
        self.round.was_full |= self.under_way >= self.limit;
        if let Some(aside) = &mut self.aside {
            aside.is_probed = true;
        }
    }

    /// A question that was asked is not waited for any more, for no fault of the server.
    pub(super) fn forget(&mut self) {
        self.under_way -= 1;
        if let Some(aside) = &mut self.aside {
            aside.is_probed = false;
        }
    }

    /// A question that was asked has come to its end.
    pub(super) fn end(&mut self, ending: Ending, now: Duration) {
        self.under_way -= 1;
        self.round.ended += 1;
        match ending {
            Ending::Answered(time) => {
                self.quickest = self.quickest.min(time);
                // The weight is that of TCP's smoothed time (RFC 6298).
                self.average = Some(
                    self.average
                        .map_or(time, |average| (average * 7 + time) / 8),
                );
                self.failures = 0;
                self.aside = None;
            }
            Ending::Unwilling => {
                self.round.lost += 1;
                self.failures = 0;
                self.aside = None;
            }
            Ending::Lost => {
                self.round.lost += 1;
                self.fail(1, now);
            }
            Ending::Closed => {
                if let Some(aside) = &mut self.aside {
                    aside.is_probed = false;
                }
            }
            Ending::Absent => {
                self.round.lost += 1;
                self.fail(FAILURES_MAX, now);
            }
        }
        if self.round.ended >= self.limit {
            self.end_round();
        }
    }

    fn end_round(&mut self) {
        let round = std::mem::take(&mut self.round);
        if round.lost * 100 > round.ended * LOSS_TO_SHRINK {
            self.explores = false;
            self.limit = (self.limit * 7 / 10).max(LIMIT_MIN.min(self.limit_max));
        } else if round.lost * 100 <= round.ended * LOSS_TO_STAY && round.was_full && !self.queues()
        {
            let step = if self.explores {
                self.limit
            } else {
                LIMIT_STEP
            };
            self.limit = (self.limit + step).min(self.limit_max);
        }
    }

    /// True if questions seem to wait at the server already: more of them would make none of them
    /// quicker, and in the end be dropped.
    fn queues(&self) -> bool {
        let is_slow = |average| average > self.quickest * 2 + Duration::from_millis(2);
        self.average.is_some_and(is_slow)
    }

    fn fail(&mut self, times: u32, now: Duration) {
        self.failures = self.failures.saturating_add(times);
        match &mut self.aside {
            // It was set aside already: this was the probe, or from before.
            Some(aside) if aside.is_probed => {
                aside.length = (aside.length * 2).min(ASIDE_MAX);
                aside.until = now + aside.length;
                aside.is_probed = false;
            }
            Some(_) => {}
            None if self.failures >= FAILURES_MAX => {
                self.aside = Some(Aside {
                    until: now + ASIDE_AT_FIRST,
                    length: ASIDE_AT_FIRST,
                    is_probed: false,
                });
            }
            None => {}
        }
    }
}
