//! The limit on queries in flight at a server (adaptive concurrency).
//!
//! The limit follows the throughput of the server. It grows while a higher limit brings more replies per
//! second, and shrinks while a lower limit costs no replies. Losses alone decide nothing: losses caused
//! by the network or by names without an answer are the same at every limit; only the losses of an
//! overloaded server decrease when the limit is lower. A refusal (SERVFAIL, REFUSED) counts as a loss
//! here.

use std::time::Duration;

/// The initial limit. It doubles with each round of replies, so that 2,000 names at a server that takes
/// 3 s per reply are answered in three rounds (9 s). With 336, some runs needed four rounds when two loops
/// shared the limit.
const LIMIT_INITIAL: usize = 384;
const LIMIT_MIN: usize = 4;

/// The minimum number of queries in a round, even if the limit is lower.
const ROUND_MIN: u32 = 64;

/// The minimum number of queries that must end before a limit is compared with one that differs little.
const COMPARED_MIN: u32 = 300;

/// Replies may always become slower by this much when the limit doubles: shorter delays do not matter.
const SLOWDOWN_ALLOWED: Duration = Duration::from_micros(500);

/// The share that may be lost in addition to the earlier loss and the statistical margin.
const LOSS_TOLERANCE: f64 = 0.01;

/// Rounds for which a limit is held after another one was tried and was no better: the minimum, the
/// initial number after a higher limit, and the maximum. The number doubles each time.
const ROUNDS_TO_HOLD_MIN: u32 = 2;
const ROUNDS_TO_HOLD: u32 = 16;
const ROUNDS_TO_HOLD_MAX: u32 = 128;

/// Queries that have ended under the same limit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    /// Queries that have ended.
    pub(super) ended: u32,
    /// Those that were answered; NXDOMAIN is an answer, too.
    pub(super) answered: u32,
    /// The sum of their round-trip times.
    pub(super) answered_time: Duration,
    /// The sum of the times for which all of them held their permits.
    pub(super) permit_time: Duration,
    /// As many were in flight as the limit allowed.
    pub(super) was_full: bool,
    /// At least half as many were in flight at some time.
    pub(super) was_half_full: bool,
}

impl Sample {
    fn add(&mut self, other: &Self) {
        self.ended += other.ended;
        self.answered += other.answered;
        self.answered_time += other.answered_time;
        self.permit_time += other.permit_time;
        self.was_full |= other.was_full;
    }

    /// The share without an answer.
    fn loss(&self) -> f64 {
        // A late answer counts in the round in which it arrives, so `answered` may exceed `ended`.
        let lost = self.ended.saturating_sub(self.answered);
        f64::from(lost) / f64::from(self.ended.max(1))
    }
}

/// A share of losses above which a server is considered flooded even before the round is long enough.
const FLOOD_LOSS: f64 = 0.4;

/// A share of losses above which a round says nothing about the limit, unless the controller still
/// explores.
const SILENCE_LOSS: f64 = 0.9;

/// The minimum variance of the loss per query, as if at least 5 % were lost.
const VARIANCE_MIN: f64 = 0.05 * 0.95;

/// Finds the limit for one server.
#[derive(Debug)]
pub(super) struct Controller {
    value: usize,
    max: usize,
    phase: Phase,
    /// While exploring: the bound for growth, and when it was last doubled.
    growth_max: usize,
    growth_max_set_at: Duration,
    /// The share of losses that a lower limit did not reduce.
    accepted_loss: f64,
    /// Rounds for which the limit is held after a lower or a higher one was no better.
    hold_after_lower: u32,
    hold_after_higher: u32,
    /// Until then, queries end that were sent under an earlier limit; they say nothing about this one.
    settled_at: Duration,
    /// The limit and the time when the round began.
    limit_at_start: usize,
    started_at: Duration,
    round: Sample,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The limit has not been too high yet: it grows by one with each reply (slow start).
    Explore { before: Option<Outcome> },
    /// The limit stays for this many rounds. Their samples are added up for precision.
    Hold { rounds: u32, all: Sample },
    /// A limit higher by this fraction is tried.
    Up { before: Outcome, step: f64 },
    /// A lower limit is tried.
    Down { before: Outcome, explored: bool },
}

/// The result of a round.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    limit: usize,
    /// The share of the queries without an answer.
    loss: f64,
    /// The statistical margin of `loss`: two standard deviations.
    loss_margin: f64,
    /// The mean round-trip time.
    mean: Duration,
    /// Replies per second, by Little's law.
    rate: f64,
}

/// The fraction by which a higher limit is higher: at first, and at most after successes in a row.
const STEP_MIN: f64 = 0.125;
const STEP_MAX: f64 = 0.5;

impl Controller {
    /// A controller whose limit never exceeds `max`.
    pub(super) fn new(max: usize) -> Self {
        let value = LIMIT_INITIAL.min(max);
        Self {
            value,
            max,
            phase: Phase::Explore { before: None },
            growth_max: value,
            growth_max_set_at: Duration::ZERO,
            accepted_loss: 0.0,
            hold_after_lower: ROUNDS_TO_HOLD_MIN,
            hold_after_higher: ROUNDS_TO_HOLD,
            settled_at: Duration::ZERO,
            limit_at_start: value,
            started_at: Duration::ZERO,
            round: Sample::default(),
        }
    }

    /// The limit.
    pub(super) fn limit(&self) -> usize {
        self.value
    }

    /// Adds queries that have ended. A lost query holds its permit for `permit_time`. Each loop that
    /// shares the limit reads the clock itself, so `now` may go back a little.
    pub(super) fn add(&mut self, sample: &Sample, permit_time: Duration, now: Duration) {
        let explores = matches!(self.phase, Phase::Explore { .. });
        if explores && sample.was_half_full {
            self.grow(sample.answered, permit_time, now);
        }
        if now < self.settled_at {
            self.started_at = now;
            return;
        }
        self.round.add(sample);
        let round_len = u32::try_from(self.limit_at_start)
            .unwrap_or(u32::MAX)
            .max(ROUND_MIN);
        // The effect of a small change of the limit shows only over many queries.
        let round_min = match self.phase {
            Phase::Up { .. } => COMPARED_MIN.max(2 * round_len),
            Phase::Down { before, .. } if 4 * self.limit_at_start > 3 * before.limit => {
                COMPARED_MIN.max(3 * round_len)
            }
            _ => round_len,
        };
        let has_round = self.round.ended >= round_min;
        if explores && has_round && self.round.loss() > FLOOD_LOSS + self.accepted_loss {
            return self.end_flood(permit_time, now);
        }
        // Replies are noticed before losses, so only a long round counts both in full.
        let is_long = now.saturating_sub(self.started_at) >= 2 * permit_time;
        if has_round && is_long {
            self.end_round(permit_time, now);
        }
    }

    /// Grows with each reply, but at most twofold until losses would have been noticed.
    fn grow(&mut self, answered: u32, permit_time: Duration, now: Duration) {
        if now.saturating_sub(self.growth_max_set_at) * 10 >= permit_time * 9 {
            self.growth_max_set_at = now;
            self.growth_max = (2 * self.value).min(self.max);
        }
        let answered = usize::try_from(answered).expect("32 bits fit");
        self.value = self.value.max((self.value + answered).min(self.growth_max));
    }

    /// A large share is lost: lowers the limit to what the server has delivered meanwhile.
    fn end_flood(&mut self, permit_time: Duration, now: Duration) {
        if self.round.answered > 0 {
            let outcome = Outcome::new(self.limit_at_start, &self.round);
            let lower = outcome.delivered().max(self.limit_at_start / 8);
            self.set(lower.max(LIMIT_MIN), permit_time, now);
        }
        self.hold(ROUNDS_TO_HOLD_MIN);
    }

    fn end_round(&mut self, permit_time: Duration, now: Duration) {
        let explores = matches!(self.phase, Phase::Explore { .. });
        let round = std::mem::take(&mut self.round);
        let limit = std::mem::replace(&mut self.limit_at_start, self.value);
        self.started_at = now;
        if !round.was_full {
            return;
        }
        if round.loss() > SILENCE_LOSS && !explores {
            // Either many names in a row have no answer, or the server is down, which the circuit breaker
            // detects. An overloaded server would answer some queries.
            self.set(self.value.max(LIMIT_INITIAL), permit_time, now);
            return self.hold(ROUNDS_TO_HOLD_MIN);
        }
        if round.answered == 0 {
            return;
        }
        let outcome = Outcome::new(limit, &round);
        match self.phase {
            Phase::Explore { before: None } if outcome.loses_more_than(self.accepted_loss) => {
                self.try_lower(outcome, true, permit_time, now);
            }
            Phase::Explore {
                before: Some(before),
            } if !outcome.is_worthwhile(before) => {
                self.set(before.limit, permit_time, now);
                self.hold(ROUNDS_TO_HOLD);
            }
            Phase::Explore { .. } => {
                let before = Some(outcome);
                self.phase = Phase::Explore { before };
            }
            Phase::Hold { rounds, mut all } => {
                all.add(&round);
                let outcome = Outcome::new(limit, &all);
                if outcome.loses_more_than(self.accepted_loss) {
                    self.try_lower(outcome, false, permit_time, now);
                } else if rounds > 0 {
                    let rounds = rounds - 1;
                    self.phase = Phase::Hold { rounds, all };
                } else {
                    self.accepted_loss = self.accepted_loss.min(outcome.loss);
                    self.try_higher(outcome, STEP_MIN, permit_time, now);
                }
            }
            Phase::Up { before, step } if outcome.is_worthwhile(before) => {
                // A single success may be chance.
                if step > STEP_MIN {
                    self.hold_after_higher = ROUNDS_TO_HOLD;
                }
                self.try_higher(outcome, (step * 2.0).min(STEP_MAX), permit_time, now);
            }
            Phase::Up { before, .. } => {
                self.set(before.limit, permit_time, now);
                self.hold_after_higher();
            }
            Phase::Down { before, explored }
                // While exploring, losses were noticed later than replies, so the delivered rate was
                // overestimated.
                if outcome.delivers_as_much_as(before)
                    || explored && outcome.loses_less_than(before.loss) =>
            {
                self.hold_after_lower = ROUNDS_TO_HOLD_MIN;
                match outcome.loses_more_than(self.accepted_loss) {
                    true => self.try_lower(outcome, false, permit_time, now),
                    // The limit grew while the rate was measured, so this lower limit is a rough guess.
                    false if explored => self.hold(ROUNDS_TO_HOLD_MIN),
                    false => self.hold_after_higher(),
                }
            }
            Phase::Down { before, explored } => {
                self.accepted_loss = f64::midpoint(before.loss, outcome.loss);
                self.set(before.limit, permit_time, now);
                match explored {
                    true => {
                        let before = Some(before);
                        self.phase = Phase::Explore { before };
                    }
                    false => self.hold(self.hold_after_lower),
                }
                self.hold_after_lower = (self.hold_after_lower * 2).min(ROUNDS_TO_HOLD_MAX);
            }
        }
    }

    fn hold(&mut self, rounds: u32) {
        let all = Sample::default();
        self.phase = Phase::Hold { rounds, all };
    }

    /// Holds the limit after a higher one was no better, which may have shown only over the rounds of a
    /// hold.
    fn hold_after_higher(&mut self) {
        self.hold(self.hold_after_higher);
        self.hold_after_higher = (self.hold_after_higher * 2).min(ROUNDS_TO_HOLD_MAX);
    }

    fn try_higher(&mut self, before: Outcome, step: f64, permit_time: Duration, now: Duration) {
        if self.value == self.max {
            return self.hold(ROUNDS_TO_HOLD);
        }
        let higher = (self.value + 1).max(part_of(self.value, 1.0 + step));
        self.set(higher, permit_time, now);
        self.phase = Phase::Up { before, step };
    }

    /// Tries the limit at which nothing would be lost if overload were the only cause of losses: as many
    /// queries as the server answers in one round-trip time.
    fn try_lower(&mut self, before: Outcome, explored: bool, permit_time: Duration, now: Duration) {
        let delivered = before.delivered();
        // The rate measured while exploring is a rough guess: the difference must be large.
        let lower_max = match explored {
            true => before.limit * 3 / 4,
            false => before.limit * 9 / 10,
        };
        let lower = delivered.clamp(before.limit / 4, lower_max);
        if lower < LIMIT_MIN {
            return self.hold(ROUNDS_TO_HOLD);
        }
        self.set(lower, permit_time, now);
        self.phase = Phase::Down { before, explored };
    }

    fn set(&mut self, value: usize, permit_time: Duration, now: Duration) {
        self.value = value.min(self.max);
        self.limit_at_start = self.value;
        // Queries that were lost may have been sent in one burst, just now, and `permit_time` changes a
        // little until their permits expire: they must not count for the new limit.
        self.settled_at = now + permit_time * 5 / 4;
        self.round = Sample::default();
    }
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]
fn part_of(limit: usize, part: f64) -> usize {
    (limit as f64 * part) as usize
}

impl Outcome {
    #[allow(clippy::cast_precision_loss)]
    fn new(limit: usize, round: &Sample) -> Self {
        let ended = f64::from(round.ended);
        let share = 1.0 - round.loss();
        let variance = (share * (1.0 - share)).max(VARIANCE_MIN);
        let permit_time_s = (round.permit_time.as_secs_f64() / ended).max(1e-9);
        Self {
            limit,
            loss: 1.0 - share,
            loss_margin: 2.0 * (variance / ended).sqrt(),
            mean: round.answered_time / round.answered,
            rate: limit as f64 * share / permit_time_s,
        }
    }

    /// Replies that the server delivers in one round-trip time: this many queries in flight keep it busy.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn delivered(self) -> usize {
        (self.rate * self.mean.as_secs_f64()).ceil() as usize
    }

    /// True if the higher limit is worthwhile: replies per second have increased by at least half of what
    /// is possible, and the share of losses is hardly greater.
    #[allow(clippy::cast_precision_loss)]
    fn is_worthwhile(self, before: Self) -> bool {
        let growth = (self.limit as f64 / before.limit as f64 - 1.0).max(0.0);
        let slower_by = (before.mean / 2 + SLOWDOWN_ALLOWED).mul_f64(growth);
        // The loss if the higher limit had not brought a single additional reply.
        let loss_without_gain = 1.0 - (1.0 - before.loss) / (1.0 + growth);
        let loss_midpoint = f64::midpoint(before.loss, loss_without_gain);
        let loss_max = loss_midpoint.min(before.loss + LOSS_TOLERANCE + self.loss_margin);
        // The same limit again proves nothing.
        growth == 0.0 || self.mean <= before.mean + slower_by && self.loss <= loss_max
    }

    /// True if the lower limit costs less than half of the replies that it would cost if the share of
    /// losses were the same at every limit.
    #[allow(clippy::cast_precision_loss)]
    fn delivers_as_much_as(self, before: Self) -> bool {
        let part = self.limit as f64 / before.limit as f64;
        self.rate >= before.rate * (1.0 + part) / 2.0
    }

    /// True if the loss is significantly below this share. The margin counts twice, because the share was
    /// measured in few queries, too.
    fn loses_less_than(self, share: f64) -> bool {
        self.loss + 2.0 * self.loss_margin < share
    }

    /// True if the loss is significantly above this share.
    fn loses_more_than(self, share: f64) -> bool {
        self.loss > share + LOSS_TOLERANCE + self.loss_margin
    }
}
