//! What one loop knows about one server: its round-trip time, its limit, whether it replies at all.

use super::circuit::Circuit;
use super::edns::Edns;
use super::estimate::Estimate;
use super::limit::Limit;
use super::permits::{PermitId, Permits};
use super::question::Question;
use super::server_stats::ServerStats;
use super::stream::Stream;
use super::throttle::Throttle;
use std::net::SocketAddr;
use std::time::Duration;

/// What a query is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum QueryKind {
    /// Another attempt for a name. These are served first, because their names came first.
    Retry,
    /// The first attempt for a name.
    NewName,
}

/// After this many answers, the question that is kept for probes is replaced.
const KNOWN_GOOD_EVERY: u64 = 1024;

/// How often a loop whose queries all wait for the first reply checks whether other loops have had any.
const CHECK_OTHER_LOOPS_EVERY: Duration = Duration::from_millis(50);

/// One server, as this loop knows it.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) stats: ServerStats,
    pub(super) estimate: Estimate,
    pub(super) circuit: Circuit,
    pub(super) edns: Edns,
    pub(super) stream: Stream,
    /// A question that it has answered: a better probe than one that may have no answer.
    pub(super) known_good: Option<Question>,
    limit: Limit,
    permits: Permits,
    throttle: Option<Throttle>,
    /// No id is free on any socket before this time.
    no_ids_until: Option<Duration>,
    /// All its queries are sent in a stream.
    streams_only: bool,
}

/// The settings for queries to one server.
#[derive(Debug)]
pub(super) struct ServerSettings {
    pub(super) limit: Limit,
    /// Queries per second, at most.
    pub(super) rate: Option<f64>,
    /// The timeout of a first attempt; `None`: it is estimated.
    pub(super) attempt_timeout: Option<Duration>,
    /// How long names wait for a server that has replied before.
    pub(super) hold: Duration,
    /// All its queries are sent in a stream.
    pub(super) streams_only: bool,
}

impl Server {
    pub(super) fn new(address: SocketAddr, settings: ServerSettings) -> Self {
        Self {
            address,
            stats: ServerStats::default(),
            estimate: Estimate::new(settings.attempt_timeout),
            circuit: Circuit::new(settings.hold),
            edns: Edns::default(),
            stream: Stream::default(),
            known_good: None,
            limit: settings.limit,
            permits: Permits::default(),
            throttle: settings.rate.map(Throttle::new),
            no_ids_until: None,
            streams_only: settings.streams_only,
        }
    }

    /// The statistics, with the current estimate and limit.
    pub(super) fn stats_now(&self) -> ServerStats {
        ServerStats {
            smoothed_round_trip: self.estimate.smoothed(),
            limit: self.limit.of_all_loops(),
            ..self.stats.clone()
        }
    }

    /// How many more queries of this kind may be sent now. While other servers are available, a silent
    /// server gets only probes.
    pub(super) fn room(&self, kind: QueryKind, any_available: bool, now: Duration) -> usize {
        if self.no_ids_until.is_some_and(|until| now < until) {
            return 0;
        }
        let is_held = self.held_until(kind).is_some_and(|until| now < until);
        let room = match is_held || any_available && self.circuit.is_open() {
            true => usize::from(self.takes_a_name_as_probe(now)),
            false => self.limit.get().saturating_sub(self.permits.held()),
        };
        let room = match self.streams_only {
            true => room.min(self.stream.room()),
            false => room,
        };
        let throttle = self.throttle.as_ref();
        throttle.map_or(room, |throttle| throttle.allowance(now).min(room))
    }

    /// The first time at which there may be more room or a probe is due, unless a reply comes before.
    pub(super) fn next_event(&self, now: Duration) -> Option<Duration> {
        let permit_time = self.estimate.permit_time();
        let is_full = self.permits.held() >= self.limit.get();
        let expiry = (is_full.then(|| self.permits.next_expiry(permit_time))).flatten();
        let waits_for_the_first = is_full && !self.estimate.is_known() && self.limit.is_shared();
        let check_other_loops = waits_for_the_first.then(|| now + CHECK_OTHER_LOOPS_EVERY);
        let paced = self.throttle.as_ref().map(Throttle::next);
        let circuit = [
            self.circuit.probe_at(),
            self.circuit.holds_new_until(),
            self.circuit.holds_retries_until(),
        ];
        let events = [paced, self.no_ids_until, check_other_loops]
            .into_iter()
            .chain(circuit);
        let next = events.flatten().filter(|&at| at > now);
        // Permits expire only in `expire_permits`, so this time may already have passed.
        next.chain(expiry).min()
    }

    fn held_until(&self, kind: QueryKind) -> Option<Duration> {
        match kind {
            QueryKind::NewName => self.circuit.holds_new_until(),
            QueryKind::Retry => self.circuit.holds_retries_until(),
        }
    }

    /// True if a probe is due and there is no known good question, so that an item's name must serve.
    fn takes_a_name_as_probe(&self, now: Duration) -> bool {
        self.known_good.is_none() && self.is_probe_due(now)
    }

    /// True if a probe is due.
    pub(super) fn is_probe_due(&self, now: Duration) -> bool {
        self.circuit.probe_at().is_some_and(|at| at <= now)
    }

    /// The share of its limit that is in flight.
    pub(super) fn load(&self) -> f64 {
        #[allow(clippy::cast_precision_loss)]
        let load = self.permits.held() as f64 / self.limit.get() as f64;
        load
    }

    /// Acquires a permit for a query that is being sent.
    pub(super) fn send(&mut self, is_sample: bool, now: Duration) -> PermitId {
        if let Some(throttle) = &mut self.throttle {
            throttle.ask(now);
        }
        self.stats.sent += 1;
        let permit = self.permits.acquire(is_sample, now);
        self.limit.sent(self.permits.held());
        permit
    }

    /// No id is free before this time.
    pub(super) fn has_no_ids(&mut self, until: Duration) {
        self.no_ids_until = Some(until);
    }

    /// An id is free again.
    pub(super) fn has_ids(&mut self) {
        self.no_ids_until = None;
    }

    /// A reply with an answer came after this time. (After a refusal that may be due to the load, a query
    /// holds its permit until it expires: an overloaded server that refuses quickly must not get even
    /// more queries.)
    pub(super) fn answered(&mut self, permit: PermitId, is_sample: bool, time: Duration) {
        let was_held = self.permits.release(permit);
        match (is_sample, was_held) {
            (true, true) => self.limit.answered(time),
            (true, false) => self.limit.answered_late(time),
            (false, _) => {}
        }
    }

    /// It has answered this question, which may then serve for probes.
    pub(super) fn note_answered(&mut self, question: &Question) {
        // One of many questions is enough.
        if self.known_good.is_none() || self.stats.answered.is_multiple_of(KNOWN_GOOD_EVERY) {
            self.known_good = Some(question.clone());
        }
    }

    /// The outcome of this query does not count for the limit.
    pub(super) fn exclude_from_sample(&mut self, permit: PermitId) {
        self.permits.exclude_from_sample(permit);
    }

    /// Releases the permit of a query that was given up; this does not count against the server.
    pub(super) fn forget(&mut self, permit: PermitId) {
        self.permits.release(permit);
    }

    /// Expires permits that have been held for too long.
    pub(super) fn expire_permits(&mut self, now: Duration) {
        if !self.estimate.is_known()
            && let Some(known) = self.limit.reply_times()
        {
            self.estimate.learn(known);
        }
        let permit_time = self.estimate.permit_time();
        while let Some(is_sample) = self.permits.expire(permit_time, now) {
            // Before the first reply, `permit_time` is only a guess.
            if is_sample && self.estimate.is_known() {
                self.limit.ended(permit_time);
            }
        }
    }

    /// Reports the outcomes of queries, if there are enough of them.
    pub(super) fn report(&mut self, now: Duration) {
        self.limit.report_in_time(&self.estimate, now);
    }
}
