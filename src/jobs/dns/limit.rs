//! How many questions a server may be asked at one time.

use std::time::Duration;

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

/// Grows while growing pays, and shrinks when much is lost.
#[derive(Debug)]
pub(super) struct Limit {
    value: usize,
    max: usize,
    /// It was never too high yet, so that it may grow quickly.
    explores: bool,
    /// The round before it was last raised.
    before: Option<Outcome>,
    /// Rounds for which it is to stay as it is.
    hold: u32,
    round: Round,
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

impl Limit {
    /// One that never exceeds `max`.
    pub(super) fn new(max: usize) -> Self {
        Self {
            value: LIMIT_AT_FIRST.min(max),
            max,
            explores: true,
            before: None,
            hold: 0,
            round: Round::default(),
        }
    }

    /// The limit.
    pub(super) fn get(&self) -> usize {
        self.value
    }

    /// A question was asked, and now so many are under way.
    pub(super) fn asked(&mut self, under_way: usize) {
        self.round.was_full |= under_way >= self.value;
    }

    /// A question that was asked has come to its end.
    pub(super) fn ended(&mut self, ending: Ending) {
        let round = &mut self.round;
        round.begun += 1;
        if round.begun <= self.value {
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
        if round.ended >= self.value.max(ROUND_MIN) {
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
            self.value = (self.value * 7 / 10).max(LIMIT_MIN.min(self.max));
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
            limit: self.value,
            loss: round.lost as f64 / round.ended as f64,
            mean: round.time / round.answered,
        };
        match self.before {
            Some(before) if !outcome.pays(before) => {
                self.explores = false;
                self.value = before.limit;
                self.before = None;
                self.hold = ROUNDS_TO_HOLD;
            }
            _ => {
                self.before = Some(outcome);
                let step = if self.explores {
                    self.value
                } else {
                    (self.value / 8).max(1)
                };
                self.value = (self.value + step).min(self.max);
            }
        }
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
    use crate::jobs::dns::server::Server;
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    const MAX: usize = 4096;
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
    fn losses_that_happen_anyway_do_not_hold_it_back() {
        let (server, lost) = ask(100_000, |_, random| (random >= 5).then_some(50 * MS));
        assert!(lost > 4_000);
        assert_eq!(server.limit(), MAX);
    }

    #[test]
    fn a_server_that_has_to_ask_others_is_no_slow_one() {
        let time = |random| if random < 50 { MS } else { 100 * MS };
        let (server, _) = ask(100_000, |_, random| Some(time(random)));
        assert_eq!(server.limit(), MAX);
    }

    #[test]
    fn queries_do_not_queue_at_the_server() {
        // One after the other, 50,000 in a second, and 1 ms on the way: 50 keep it busy.
        let mut free_at = Duration::ZERO;
        let (server, _) = ask(100_000, |now, _| {
            free_at = free_at.max(now) + Duration::from_micros(20);
            Some(free_at - now + MS)
        });
        assert!((50..=256).contains(&server.limit()), "{}", server.limit());
    }

    #[test]
    fn much_loss_shrinks_the_limit() {
        let (server, _) = ask(20_000, |_, random| (random >= 60).then_some(MS));
        assert_eq!(server.limit(), LIMIT_MIN);
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
        assert!((50..=600).contains(&server.limit()), "{}", server.limit());
    }
}
