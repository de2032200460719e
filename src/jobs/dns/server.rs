//! What is known of one server: how quick it is, how much it bears, whether it is there.

use super::figures::Figures;
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

/// Queries that tell something about a limit, at least, however low it is.
const ROUND_MIN: usize = 64;

/// Losses of one round, in hundredths, that make the limit shrink. Networks lose a few packets
/// whatever one does: to shrink for those would get nowhere.
const LOSS_TO_SHRINK: usize = 10;

/// Replies may be slower by this much whenever the limit has doubled: what is quicker than that needs
/// no care.
const SLOWER_BY: Duration = Duration::from_micros(500);

/// The share that may be lost besides what was lost before, and what is chance, when the limit has been
/// raised.
const MORE_LOSS: f64 = 0.01;

/// Rounds before a limit is tried again that did not pay.
const ROUNDS_TO_HOLD: u32 = 16;

/// What may be sent at once when there is a rate: as much as is due in this time. An event loop may be
/// late by so much.
const BURST: Duration = Duration::from_millis(10);

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
    pub(super) figures: Figures,
    /// It does not understand EDNS.
    pub(super) is_plain: bool,
    average: Option<Duration>,
    limit: usize,
    limit_max: usize,
    /// The limit was never too high yet, so that it may grow quickly.
    explores: bool,
    /// The round before the limit was last raised.
    before: Option<Outcome>,
    /// Rounds for which the limit is to stay as it is.
    hold: u32,
    under_way: usize,
    throttle: Option<Throttle>,
    round: Round,
    failures: u32,
    aside: Option<Aside>,
}

/// Attempts under one limit: so many that the first of them, which were made under another, can be
/// left out, and as many again.
#[derive(Debug, Default)]
struct Round {
    begun: usize,
    ended: usize,
    lost: usize,
    answered: u32,
    /// Until their replies came, all together.
    time: Duration,
    was_full: bool,
}

/// What came of a round.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    limit: usize,
    /// The share of the attempts that was lost.
    loss: f64,
    /// The mean time of the replies.
    mean: Duration,
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
            limit: LIMIT_AT_FIRST.min(limit_max),
            limit_max,
            explores: true,
            before: None,
            hold: 0,
            under_way: 0,
            throttle: rate.map(Throttle::new),
            round: Round::default(),
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
            None => self.under_way < self.limit,
        }
    }

    /// How many more questions it may be asked at once.
    pub(super) fn room(&self, now: Duration) -> usize {
        let room = match self.aside {
            Some(_) => 0,
            None => self.limit.saturating_sub(self.under_way),
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
    pub(super) fn ask(&mut self, now: Duration) {
        self.under_way += 1;
        if let Some(throttle) = &mut self.throttle {
            throttle.ask(now);
        }
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
        self.count(ending);
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

    fn count(&mut self, ending: Ending) {
        let round = &mut self.round;
        round.begun += 1;
        if round.begun <= self.limit {
            return;
        }
        round.ended += 1;
        match ending {
            Ending::Answered(time) => {
                round.answered += 1;
                round.time += time;
            }
            Ending::Lost | Ending::Unwilling | Ending::Absent => round.lost += 1,
            Ending::Closed => {}
        }
        if round.ended >= self.limit.max(ROUND_MIN) {
            self.end_round();
        }
    }

    /// Sets the limit for the next round. It shrinks if much is lost, and grows while that pays: while
    /// more questions under way at one time do not just make each of them take longer. (The shortest
    /// time would be no measure, since a server knows some answers and has to ask for others.)
    fn end_round(&mut self) {
        let round = std::mem::take(&mut self.round);
        if round.lost * 100 > round.ended * LOSS_TO_SHRINK {
            self.explores = false;
            self.before = None;
            self.limit = (self.limit * 7 / 10).max(LIMIT_MIN.min(self.limit_max));
            return;
        }
        if !round.was_full || round.answered == 0 {
            return;
        }
        if self.hold > 0 {
            self.hold -= 1;
            return;
        }
        #[allow(clippy::cast_precision_loss)]
        let outcome = Outcome {
            limit: self.limit,
            loss: round.lost as f64 / round.ended as f64,
            mean: round.time / round.answered,
        };
        match self.before {
            Some(before) if !outcome.pays(before) => {
                self.explores = false;
                self.limit = before.limit;
                self.before = None;
                self.hold = ROUNDS_TO_HOLD;
            }
            _ => {
                self.before = Some(outcome);
                let step = if self.explores {
                    self.limit
                } else {
                    (self.limit / 8).max(1)
                };
                self.limit = (self.limit + step).min(self.limit_max);
            }
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

/// Keeps queries to a rate, by the generic cell rate algorithm (ITU-T I.371, annex A). Other than the
/// schedule of a run it makes up for nothing.
#[derive(Debug)]
struct Throttle {
    interval: Duration,
    /// When the next query would be due, were they evenly spread.
    due: Duration,
}

impl Throttle {
    fn new(rate: f64) -> Self {
        // Rounded up: rather too few than too many.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let interval_ns = (1e9 / rate).ceil() as u64;
        Self {
            interval: Duration::from_nanos(interval_ns),
            due: Duration::ZERO,
        }
    }

    /// When the next query may be sent.
    fn next(&self) -> Duration {
        self.due.saturating_sub(BURST)
    }

    /// How many may be sent now.
    fn allowance(&self, now: Duration) -> usize {
        let Some(ahead) = (now + BURST).checked_sub(self.due.max(now)) else {
            return 0;
        };
        let more = ahead.as_nanos() / self.interval.as_nanos();
        usize::try_from(more).map_or(usize::MAX, |more| more.saturating_add(1))
    }

    fn ask(&mut self, now: Duration) {
        self.due = self.due.max(now) + self.interval;
    }
}

impl Outcome {
    /// True if the higher limit is worth it: if more replies came in the same time than before, by at
    /// least half of what can be hoped for, and the share that was lost is hardly greater.
    #[allow(clippy::cast_precision_loss)]
    fn pays(self, before: Self) -> bool {
        let growth = (self.limit - before.limit) as f64 / before.limit as f64;
        let slower_by = (before.mean / 2 + SLOWER_BY).mul_f64(growth);
        // About two standard deviations where 5 of 100 are lost.
        let chance = 0.5 / (self.limit.max(ROUND_MIN) as f64).sqrt();
        self.mean <= before.mean + slower_by && self.loss <= before.loss + MORE_LOSS + chance
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::dns::random::Random;
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    const MAX: usize = 4096;
    const S: Duration = Duration::from_secs(1);
    const MS: Duration = Duration::from_millis(1);

    /// Asks a server as much as it may be asked, `count` times. The network is told the time and a
    /// number from 0 to 99, and gives the time of the reply, if there is to be one. Returns the server
    /// and how much was lost.
    fn ask(
        count: usize,
        mut network: impl FnMut(Duration, u64) -> Option<Duration>,
    ) -> (Server, usize) {
        let mut server = Server::new(([192, 0, 2, 1], 53).into(), MAX, None);
        let (mut random, mut now, mut lost) = (Random::seeded(7), Duration::ZERO, 0);
        let mut on_the_way: BinaryHeap<Reverse<(Duration, Duration, bool)>> = BinaryHeap::new();
        for _ in 0..count {
            while server.has_room(now) {
                let reply = network(now, u64::from(random.next_u16()) % 100);
                let time = reply.unwrap_or_else(|| server.timeout());
                server.ask(now);
                on_the_way.push(Reverse((now + time, time, reply.is_some())));
            }
            let Some(Reverse((at, time, is_reply))) = on_the_way.pop() else {
                now += MS;
                continue;
            };
            now = at;
            lost += usize::from(!is_reply);
            let ending = match is_reply {
                true => Ending::Answered(time),
                false => Ending::Lost,
            };
            server.end(ending, now);
        }
        (server, lost)
    }

    #[test]
    fn a_rate_is_kept() {
        for rate in [0.5, 20.0, 1_000.0, 300_000.0] {
            let mut server = Server::new(([192, 0, 2, 1], 53).into(), usize::MAX, Some(rate));
            let (mut now, mut sent) = (Duration::ZERO, 0);
            while now < 20 * S {
                let room = server.room(now).min(server.limit);
                let before = sent;
                while server.has_room(now) {
                    server.ask(now);
                    server.end(Ending::Answered(MS), now);
                    sent += 1;
                }
                assert!(sent - before >= room, "{room}");
                now = server
                    .paced_until(now)
                    .expect("the rate is reached")
                    .max(now + MS / 3);
            }
            let due = rate * 20.0 + rate * BURST.as_secs_f64() + 1.0;
            assert!(
                f64::from(u32::try_from(sent).unwrap()) <= due,
                "{sent} at {rate}"
            );
            assert!(
                f64::from(u32::try_from(sent).unwrap()) >= due * 0.99 - 2.0,
                "{sent} at {rate}"
            );
        }
    }

    #[test]
    fn losses_that_happen_anyway_do_not_hold_it_back() {
        let (server, lost) = ask(100_000, |_, random| (random >= 5).then_some(50 * MS));
        assert!(lost > 4_000);
        assert_eq!(server.limit, MAX);
    }

    #[test]
    fn a_server_that_has_to_ask_others_is_no_slow_one() {
        let time = |random| if random < 50 { MS } else { 100 * MS };
        let (server, _) = ask(100_000, |_, random| Some(time(random)));
        assert_eq!(server.limit, MAX);
    }

    #[test]
    fn queries_do_not_queue_at_the_server() {
        // One after the other, 50,000 in a second, and 1 ms on the way: 50 keep it busy.
        let mut free_at = Duration::ZERO;
        let (server, _) = ask(100_000, |now, _| {
            free_at = free_at.max(now) + Duration::from_micros(20);
            Some(free_at - now + MS)
        });
        assert!((50..=256).contains(&server.limit), "{}", server.limit);
    }

    #[test]
    fn much_loss_shrinks_the_limit() {
        let (server, _) = ask(20_000, |_, random| (random >= 60).then_some(MS));
        assert_eq!(server.limit, LIMIT_MIN);
    }

    #[test]
    fn what_a_server_drops_beyond_its_rate_is_not_sent_for_long() {
        // 10,000 in a second, 100 in a burst.
        let (mut tokens, mut last) = (100.0_f64, Duration::ZERO);
        let (server, lost) = ask(100_000, |now, _| {
            tokens = (tokens + (now - last).as_secs_f64() * 10_000.0).min(100.0);
            last = now;
            let answers = tokens >= 1.0;
            tokens -= f64::from(u8::from(answers));
            answers.then_some(10 * MS)
        });
        assert!(lost < 15_000, "{lost}");
        // 100 wait for their replies at one time, and some hundred for what is lost.
        assert!((50..=600).contains(&server.limit), "{}", server.limit);
    }
}
