//! What is known of one server: how quick it is, how much it bears, whether it is there.

use super::figures::Figures;
use super::limit::{Ending, Limit};
use super::throttle::Throttle;
use std::net::SocketAddr;
use std::time::Duration;

/// The shortest and the longest time a reply is waited for, and the time for the first ones.
/// These and [`TIMES_THE_AVERAGE`] are c-ares' (`ares_metrics.c`), which has them from experience.
const TIMEOUT_MIN: Duration = Duration::from_millis(250);
const TIMEOUT_MAX: Duration = Duration::from_secs(5);
const TIMEOUT_AT_FIRST: Duration = Duration::from_secs(2);
const TIMES_THE_AVERAGE: u32 = 5;

/// Failures in a row after which a server is set aside.
const FAILURES_MAX: u32 = 16;
/// How long it is left alone before it is probed, at first and at most.
const ASIDE_AT_FIRST: Duration = Duration::from_millis(100);
const ASIDE_MAX: Duration = Duration::from_secs(5);

/// One server, as this loop knows it.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) figures: Figures,
    /// It does not understand EDNS.
    pub(super) is_plain: bool,
    average: Option<Duration>,
    limit: Limit,
    under_way: usize,
    throttle: Option<Throttle>,
    failures: u32,
    aside: Option<Aside>,
}

#[derive(Debug)]
struct Aside {
    until: Duration,
    length: Duration,
    is_probed: bool,
}

impl Server {
    /// A server that is asked so much at one time, and so often in a second, at most.
    pub(super) fn new(address: SocketAddr, limit_max: usize, rate: Option<f64>) -> Self {
        Self {
            address,
            figures: Figures::default(),
            is_plain: false,
            average: None,
            limit: Limit::new(limit_max),
            under_way: 0,
            throttle: rate.map(Throttle::new),
            failures: 0,
            aside: None,
        }
    }

    /// True if it may be asked one more question now.
    pub(super) fn has_room(&self, now: Duration) -> bool {
        if self.paced_until(now).is_some() {
            return false;
        }
        match &self.aside {
            Some(aside) => !aside.is_probed && aside.until <= now,
            None => self.under_way < self.limit.get(),
        }
    }

    /// How many more questions it may be asked at once.
    pub(super) fn room(&self, now: Duration) -> usize {
        let room = match self.aside {
            Some(_) => 0,
            None => self.limit.get().saturating_sub(self.under_way),
        };
        let throttle = self.throttle.as_ref();
        throttle.map_or(room, |throttle| throttle.allowance(now).min(room))
    }

    /// When it may be asked again, if its rate does not allow that now.
    pub(super) fn paced_until(&self, now: Duration) -> Option<Duration> {
        let next = self.throttle.as_ref()?.next();
        (next > now).then_some(next)
    }

    /// True if it has been set aside.
    pub(super) fn is_aside(&self) -> bool {
        self.aside.is_some()
    }

    /// How many questions it may be asked at one time.
    #[cfg(test)]
    pub(super) fn limit(&self) -> usize {
        self.limit.get()
    }

    /// The share of what it bears that is under way.
    pub(super) fn load(&self) -> f64 {
        #[allow(clippy::cast_precision_loss)]
        let load = self.under_way as f64 / self.limit.get() as f64;
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
    pub(super) fn ask(&mut self, now: Duration) {
        self.under_way += 1;
        if let Some(throttle) = &mut self.throttle {
            throttle.ask(now);
        }
        self.limit.asked(self.under_way);
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
        self.limit.ended(ending);
        match ending {
            Ending::Answered(time) => {
                // The weight is that of TCP's smoothed time (RFC 6298).
                self.average = Some(
                    self.average
                        .map_or(time, |average| (average * 7 + time) / 8),
                );
                self.failures = 0;
                self.aside = None;
            }
            Ending::Unwilling => {
                self.failures = 0;
                self.aside = None;
            }
            Ending::Lost => self.fail(1, now),
            Ending::Closed => {
                if let Some(aside) = &mut self.aside {
                    aside.is_probed = false;
                }
            }
            Ending::Absent => self.fail(FAILURES_MAX, now),
        }
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
