//! What one loop knows of one server: how quick it is, how much it bears, whether it is there.

use super::circuit::Circuit;
use super::edns::Edns;
use super::estimate::Estimate;
use super::figures::Figures;
use super::limit::Limit;
use super::places::{PlaceId, Places};
use super::question::Question;
use super::stream::Stream;
use super::throttle::Throttle;
use std::net::SocketAddr;
use std::time::Duration;

/// Whom a place is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum For {
    /// Another attempt for a name. These are served first: their names were there before.
    Retry,
    /// A name that no query was sent for.
    NewName,
}

/// After so many answers another question is kept to probe a server with.
const KNOWN_GOOD_EVERY: u64 = 1024;

/// So often a loop whose queries all wait for their first replies looks whether others have had any.
const LOOK_AT_OTHERS_EVERY: Duration = Duration::from_millis(50);

/// One server, as this loop knows it.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) figures: Figures,
    pub(super) estimate: Estimate,
    pub(super) circuit: Circuit,
    pub(super) edns: Edns,
    pub(super) stream: Stream,
    /// A question that it has answered: a better probe than one that nobody may know the answer to.
    pub(super) known_good: Option<Question>,
    limit: Limit,
    places: Places,
    throttle: Option<Throttle>,
    /// No id is free on any socket before this time.
    no_ids_until: Option<Duration>,
    /// It is asked in its stream alone.
    streams_only: bool,
}

/// What decides how a server is asked, besides what becomes known of it.
#[derive(Debug)]
pub(super) struct ServerSettings {
    pub(super) limit: Limit,
    /// Queries per second, at most.
    pub(super) rate: Option<f64>,
    /// The time for a first attempt, if it is not to be estimated.
    pub(super) attempt_timeout: Option<Duration>,
    /// How long names wait for a server that has answered before.
    pub(super) hold: Duration,
    /// It is asked in its stream alone.
    pub(super) streams_only: bool,
}

impl Server {
    pub(super) fn new(address: SocketAddr, settings: ServerSettings) -> Self {
        Self {
            address,
            figures: Figures::default(),
            estimate: Estimate::new(settings.attempt_timeout),
            circuit: Circuit::new(settings.hold),
            edns: Edns::default(),
            stream: Stream::default(),
            known_good: None,
            limit: settings.limit,
            places: Places::default(),
            throttle: settings.rate.map(Throttle::new),
            no_ids_until: None,
            streams_only: settings.streams_only,
        }
    }

    /// What was counted, with what is known of it by now.
    pub(super) fn figures_now(&self) -> Figures {
        Figures {
            smoothed_round_trip: self.estimate.smoothed(),
            limit: self.limit.of_all_loops(),
            ..self.figures.clone()
        }
    }

    /// How many more queries it may be sent now, for names of this kind. A server that is silent takes
    /// none but probes while others are there.
    pub(super) fn room(&self, kind: For, others_are_there: bool, now: Duration) -> usize {
        if self.no_ids_until.is_some_and(|until| now < until) {
            return 0;
        }
        let is_held = self.held_until(kind).is_some_and(|until| now < until);
        let room = match is_held || others_are_there && self.circuit.is_open() {
            true => usize::from(self.takes_a_name_as_probe(now)),
            false => self.limit.get().saturating_sub(self.places.held()),
        };
        let room = match self.streams_only {
            true => room.min(self.stream.room()),
            false => room,
        };
        let throttle = self.throttle.as_ref();
        throttle.map_or(room, |throttle| throttle.allowance(now).min(room))
    }

    /// The first moment at which there may be more room, or a probe is due, other than by a
    /// reply.
    pub(super) fn next_event(&self, now: Duration) -> Option<Duration> {
        let place_time = self.estimate.place_time();
        let is_full = self.places.held() >= self.limit.get();
        let expiry = (is_full.then(|| self.places.next_expiry(place_time))).flatten();
        let waits_for_the_first = is_full && !self.estimate.is_known() && self.limit.is_shared();
        let look_at_others = waits_for_the_first.then(|| now + LOOK_AT_OTHERS_EVERY);
        let paced = self.throttle.as_ref().map(Throttle::next);
        let circuit = [
            self.circuit.probe_at(),
            self.circuit.holds_new_until(),
            self.circuit.holds_retries_until(),
        ];
        let events = [paced, self.no_ids_until, look_at_others]
            .into_iter()
            .chain(circuit);
        let next = events.flatten().filter(|&at| at > now);
        // Places are taken away only when time has passed, so that this may be overdue.
        next.chain(expiry).min()
    }

    fn held_until(&self, kind: For) -> Option<Duration> {
        match kind {
            For::NewName => self.circuit.holds_new_until(),
            For::Retry => self.circuit.holds_retries_until(),
        }
    }

    /// True if a probe is due for which there is no better name than one of the list.
    fn takes_a_name_as_probe(&self, now: Duration) -> bool {
        self.known_good.is_none() && self.is_probe_due(now)
    }

    /// True if a probe is due.
    pub(super) fn is_probe_due(&self, now: Duration) -> bool {
        self.circuit.probe_at().is_some_and(|at| at <= now)
    }

    /// The share of what it bears that is under way.
    pub(super) fn load(&self) -> f64 {
        #[allow(clippy::cast_precision_loss)]
        let load = self.places.held() as f64 / self.limit.get() as f64;
        load
    }

    /// A query is sent.
    pub(super) fn send(&mut self, is_sample: bool, now: Duration) -> PlaceId {
        if let Some(throttle) = &mut self.throttle {
            throttle.ask(now);
        }
        self.figures.sent += 1;
        let place = self.places.take(is_sample, now);
        self.limit.sent(self.places.held());
        place
    }

    /// No id is free before this time.
    pub(super) fn lacks_ids(&mut self, until: Duration) {
        self.no_ids_until = Some(until);
    }

    /// An id is free again.
    pub(super) fn has_ids(&mut self) {
        self.no_ids_until = None;
    }

    /// A reply with an answer came after this time. (A refusal that may be due to the load leaves its
    /// query in its place until the time for that is over: a server that refuses what is too much must
    /// not be asked all the more.)
    pub(super) fn answered(&mut self, place: PlaceId, is_sample: bool, time: Duration) {
        let was_held = self.places.give_back(place);
        match (is_sample, was_held) {
            (true, true) => self.limit.answered(time),
            (true, false) => self.limit.answered_late(time),
            (false, _) => {}
        }
    }

    /// It has answered this question, which is then known to be one that it answers.
    pub(super) fn has_answered(&mut self, question: &Question) {
        // One of many will do.
        if self.known_good.is_none() || self.figures.answered.is_multiple_of(KNOWN_GOOD_EVERY) {
            self.known_good = Some(question.clone());
        }
    }

    /// What became of a query tells nothing about the limit.
    pub(super) fn is_no_sample(&mut self, place: PlaceId) {
        self.places.is_no_sample(place);
    }

    /// A query is not waited for any more, for no fault of the server.
    pub(super) fn forget(&mut self, place: PlaceId) {
        self.places.give_back(place);
    }

    /// Takes places away from queries that have held them for too long.
    pub(super) fn expire_places(&mut self, now: Duration) {
        if !self.estimate.is_known()
            && let Some(known) = self.limit.reply_times()
        {
            self.estimate.learn(known);
        }
        let place_time = self.estimate.place_time();
        while let Some(is_sample) = self.places.expire(place_time, now) {
            // How long a server takes that has not answered yet is a guess.
            if is_sample && self.estimate.is_known() {
                self.limit.lost(place_time);
            }
        }
    }

    /// Reports what the server has delivered, now and then.
    pub(super) fn report(&mut self, now: Duration) {
        self.limit.report_in_time(&self.estimate, now);
    }
}
