//! How many queries a server may be busy with at one time.
//!
//! The limit follows what the server delivers. It grows while that brings more replies in the same
//! time, and shrinks where less costs no replies. Losses alone decide nothing: those of a network or of
//! names without an answer are the same at every limit, and only those of a server that is asked too
//! much become fewer when the limit is lower. A refusal (SERVFAIL, REFUSED) counts like a loss here.

use std::time::Duration;

/// The limit at first. It doubles with each round of replies, so that 2,000 names of a server that takes 3 s
/// for each are answered in three rounds (9 s); 336 took four, in some runs, where two loops shared it.
const LIMIT_AT_FIRST: usize = 384;
const LIMIT_MIN: usize = 4;

/// Queries that tell something about a limit, at least, however low it is.
const ROUND_MIN: u32 = 64;

/// Queries that are to end, at least, before a limit is compared with one that is not much lower.
const COMPARED_MIN: u32 = 300;

/// Replies may be slower by this much whenever the limit has doubled: what is quicker than that needs
/// no care.
const SLOWER_BY: Duration = Duration::from_micros(500);

/// The share that may be lost besides what was lost before and what is chance.
const MORE_LOSS: f64 = 0.01;

/// Rounds for which a limit stays, at least and at most, when another was tried and was no better. The
/// number doubles each time.
const ROUNDS_TO_HOLD_MIN: u32 = 2;
const ROUNDS_TO_HOLD: u32 = 16;
const ROUNDS_TO_HOLD_MAX: u32 = 128;

/// Queries that have ended, those of the same limit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    /// Queries that have ended.
    pub(super) ended: u32,
    /// Those that were answered, be it that there is no such name.
    pub(super) answered: u32,
    /// How long these took, all together.
    pub(super) answered_time: Duration,
    /// How long all kept their places.
    pub(super) place_time: Duration,
    /// As many were under way as the limit allowed.
    pub(super) was_full: bool,
    /// Half as many were, once.
    pub(super) was_half_full: bool,
}

impl Sample {
    fn add(&mut self, other: &Self) {
        self.ended += other.ended;
        self.answered += other.answered;
        self.answered_time += other.answered_time;
        self.place_time += other.place_time;
        self.was_full |= other.was_full;
    }

    /// The share that had no answer.
    fn loss(&self) -> f64 {
        // A late answer counts in the round in which it comes.
        let lost = self.ended.saturating_sub(self.answered);
        f64::from(lost) / f64::from(self.ended.max(1))
    }
}

/// A share of losses by which a server is known to be flooded before the round is long enough to judge.
const FLOOD_LOSS: f64 = 0.4;

/// A share of losses that tells nothing about a limit that has been found before.
const SILENCE: f64 = 0.9;

/// Of what is lost, per query: as if at least 5 of 100 were.
const LEAST_VARIANCE: f64 = 0.05 * 0.95;

/// Finds the limit for one server.
#[derive(Debug)]
pub(super) struct Controller {
    value: usize,
    max: usize,
    phase: Phase,
    /// While it explores: up to where it may grow, and since when that has been known.
    doubled: usize,
    doubling_since: Duration,
    /// The share of losses at a limit and at a lower one where that was no better.
    accepted_loss: f64,
    /// For so many rounds the limit stays when a lower or a higher one was no better.
    hold_after_lower: u32,
    hold_after_higher: u32,
    /// Until then queries end that were sent under an earlier limit and tell nothing about this one.
    settled_at: Duration,
    /// The limit when the round began, and the moment.
    limit_at_start: usize,
    started_at: Duration,
    round: Sample,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// It was never too high yet: it grows by one with each reply.
    Explore { before: Option<Outcome> },
    /// It stays for so many rounds. What comes of them is added up, so that it is known precisely.
    Hold { rounds: u32, all: Sample },
    /// A higher limit is tried, by this part higher.
    Up { before: Outcome, step: f64 },
    /// A lower limit is tried.
    Down { before: Outcome, explored: bool },
}

/// What came of a round.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    limit: usize,
    /// The share of the queries that had no answer.
    loss: f64,
    /// How much of that may be chance: two standard deviations of what is to be expected.
    chance: f64,
    /// The mean time of the replies.
    mean: Duration,
    /// Replies per second, by Little's law.
    rate: f64,
}

/// A higher limit is higher by this part at first, and at most if one after the other pays.
const STEP_MIN: f64 = 0.125;
const STEP_MAX: f64 = 0.5;

impl Controller {
    /// One whose limit never exceeds `max`.
    pub(super) fn new(max: usize) -> Self {
        let value = LIMIT_AT_FIRST.min(max);
        Self {
            value,
            max,
            phase: Phase::Explore { before: None },
            doubled: value,
            doubling_since: Duration::ZERO,
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

    /// Queries have ended. One that is lost keeps its place for `place_time`. The loops that share the limit
    /// read the clock for themselves, so that `now` may go back a little.
    pub(super) fn add(&mut self, sample: &Sample, place_time: Duration, now: Duration) {
        let explores = matches!(self.phase, Phase::Explore { .. });
        if explores && sample.was_half_full {
            self.grow(sample.answered, place_time, now);
        }
        if now < self.settled_at {
            self.started_at = now;
            return;
        }
        self.round.add(sample);
        let round_len = u32::try_from(self.limit_at_start)
            .unwrap_or(u32::MAX)
            .max(ROUND_MIN);
        // What a limit changes that is hardly another one is seen only in many queries.
        let round_min = match self.phase {
            Phase::Up { .. } => COMPARED_MIN.max(2 * round_len),
            Phase::Down { before, .. } if 4 * self.limit_at_start > 3 * before.limit => {
                COMPARED_MIN.max(3 * round_len)
            }
            _ => round_len,
        };
        let has_round = self.round.ended >= round_min;
        if explores && has_round && self.round.loss() > FLOOD_LOSS + self.accepted_loss {
            return self.end_flood(place_time, now);
        }
        // Replies come before losses are noticed, so that both count in full only after a while.
        let is_long = now.saturating_sub(self.started_at) >= 2 * place_time;
        if has_round && is_long {
            self.end_round(place_time, now);
        }
    }

    /// Grows with each reply, but only twofold until losses can be noticed.
    fn grow(&mut self, answered: u32, place_time: Duration, now: Duration) {
        if now.saturating_sub(self.doubling_since) * 10 >= place_time * 9 {
            self.doubling_since = now;
            self.doubled = (2 * self.value).min(self.max);
        }
        let answered = usize::try_from(answered).expect("32 bits fit");
        self.value = self.value.max((self.value + answered).min(self.doubled));
    }

    /// Very much is lost: what the server has delivered meanwhile is what it bears.
    fn end_flood(&mut self, place_time: Duration, now: Duration) {
        if self.round.answered > 0 {
            let outcome = Outcome::new(self.limit_at_start, &self.round);
            let lower = outcome.delivered().max(self.limit_at_start / 8);
            self.set(lower.max(LIMIT_MIN), place_time, now);
        }
        self.hold(ROUNDS_TO_HOLD_MIN);
    }

    fn end_round(&mut self, place_time: Duration, now: Duration) {
        let explores = matches!(self.phase, Phase::Explore { .. });
        let round = std::mem::take(&mut self.round);
        let limit = std::mem::replace(&mut self.limit_at_start, self.value);
        self.started_at = now;
        if !round.was_full {
            return;
        }
        if round.loss() > SILENCE && !explores {
            // Names without an answer stand in a row, or the server is not there, which the circuit breaker
            // finds out. A server that is asked too much would answer some.
            self.set(self.value.max(LIMIT_AT_FIRST), place_time, now);
            return self.hold(ROUNDS_TO_HOLD_MIN);
        }
        if round.answered == 0 {
            return;
        }
        let outcome = Outcome::new(limit, &round);
        match self.phase {
            Phase::Explore { before: None } if outcome.loses_more_than(self.accepted_loss) => {
                self.try_lower(outcome, true, place_time, now);
            }
            Phase::Explore {
                before: Some(before),
            } if !outcome.pays(before) => {
                self.set(before.limit, place_time, now);
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
                    self.try_lower(outcome, false, place_time, now);
                } else if rounds > 0 {
                    let rounds = rounds - 1;
                    self.phase = Phase::Hold { rounds, all };
                } else {
                    self.accepted_loss = self.accepted_loss.min(outcome.loss);
                    self.try_higher(outcome, STEP_MIN, place_time, now);
                }
            }
            Phase::Up { before, step } if outcome.pays(before) => {
                // Once may be chance.
                if step > STEP_MIN {
                    self.hold_after_higher = ROUNDS_TO_HOLD;
                }
                self.try_higher(outcome, (step * 2.0).min(STEP_MAX), place_time, now);
            }
            Phase::Up { before, .. } => {
                self.set(before.limit, place_time, now);
                self.hold_after_higher();
            }
            Phase::Down { before, explored }
                // While it explored, losses were noticed later than replies, so that more seems to
                // have been delivered than was.
                if outcome.delivers_as_much_as(before)
                    || explored && outcome.loses_less_than(before.loss) =>
            {
                self.hold_after_lower = ROUNDS_TO_HOLD_MIN;
                match outcome.loses_more_than(self.accepted_loss) {
                    true => self.try_lower(outcome, false, place_time, now),
                    // The limit grew meanwhile, so that this one is a rough guess.
                    false if explored => self.hold(ROUNDS_TO_HOLD_MIN),
                    false => self.hold_after_higher(),
                }
            }
            Phase::Down { before, explored } => {
                self.accepted_loss = f64::midpoint(before.loss, outcome.loss);
                self.set(before.limit, place_time, now);
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

    /// A higher limit was no better, perhaps only by what came of more rounds than were to decide.
    fn hold_after_higher(&mut self) {
        self.hold(self.hold_after_higher);
        self.hold_after_higher = (self.hold_after_higher * 2).min(ROUNDS_TO_HOLD_MAX);
    }

    fn try_higher(&mut self, before: Outcome, step: f64, place_time: Duration, now: Duration) {
        if self.value == self.max {
            return self.hold(ROUNDS_TO_HOLD);
        }
        let higher = (self.value + 1).max(part_of(self.value, 1.0 + step));
        self.set(higher, place_time, now);
        self.phase = Phase::Up { before, step };
    }

    /// Tries the limit at which nothing would be lost, were all of it the server's doing: as much as it
    /// delivers in the time that a reply takes.
    fn try_lower(&mut self, before: Outcome, explored: bool, place_time: Duration, now: Duration) {
        let delivered = before.delivered();
        // What was delivered while it explored is a rough guess: the difference has to be plain.
        let lower_max = match explored {
            true => before.limit * 3 / 4,
            false => before.limit * 9 / 10,
        };
        let lower = delivered.clamp(before.limit / 4, lower_max);
        if lower < LIMIT_MIN {
            return self.hold(ROUNDS_TO_HOLD);
        }
        self.set(lower, place_time, now);
        self.phase = Phase::Down { before, explored };
    }

    fn set(&mut self, value: usize, place_time: Duration, now: Duration) {
        self.value = value.min(self.max);
        self.limit_at_start = self.value;
        // Queries that were lost may have been sent in one burst, just now, and `place_time` changes a
        // little until they lose their places: they must not count for the new limit.
        self.settled_at = now + place_time * 5 / 4;
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
        let variance = (share * (1.0 - share)).max(LEAST_VARIANCE);
        let place_time_s = (round.place_time.as_secs_f64() / ended).max(1e-9);
        Self {
            limit,
            loss: 1.0 - share,
            chance: 2.0 * (variance / ended).sqrt(),
            mean: round.answered_time / round.answered,
            rate: limit as f64 * share / place_time_s,
        }
    }

    /// How much the server delivers in the time that a reply takes: so many queries keep it busy.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn delivered(self) -> usize {
        (self.rate * self.mean.as_secs_f64()).ceil() as usize
    }

    /// True if the higher limit is worth it: if more replies came in the same time than before, by at
    /// least half of what can be hoped for, and the share that was lost is hardly greater.
    #[allow(clippy::cast_precision_loss)]
    fn pays(self, before: Self) -> bool {
        let growth = (self.limit as f64 / before.limit as f64 - 1.0).max(0.0);
        let slower_by = (before.mean / 2 + SLOWER_BY).mul_f64(growth);
        // As much would be lost if not one reply more had come.
        let in_vain = 1.0 - (1.0 - before.loss) / (1.0 + growth);
        let half_in_vain = f64::midpoint(before.loss, in_vain);
        let bearable = half_in_vain.min(before.loss + MORE_LOSS + self.chance);
        // The same limit again is no test.
        growth == 0.0 || self.mean <= before.mean + slower_by && self.loss <= bearable
    }

    /// True if the lower limit costs less than half of the replies that it would, were the losses the
    /// same at every limit.
    #[allow(clippy::cast_precision_loss)]
    fn delivers_as_much_as(self, before: Self) -> bool {
        let part = self.limit as f64 / before.limit as f64;
        self.rate >= before.rate * (1.0 + part) / 2.0
    }

    /// True if less is lost than this share, which was measured in few queries, too, beyond chance.
    fn loses_less_than(self, share: f64) -> bool {
        self.loss + 2.0 * self.chance < share
    }

    /// True if more is lost than this share, beyond chance.
    fn loses_more_than(self, share: f64) -> bool {
        self.loss > share + MORE_LOSS + self.chance
    }
}
