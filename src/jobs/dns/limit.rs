//! The share that one event loop has of the limit on queries at a server.

use super::controller::{Controller, Sample};
use super::estimate::{Estimate, Smoothed};
use crate::lock::lock;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Queries in flight at a server of resolv.conf, which other programs use as well. Users who name servers
/// know how much load these can handle.
const AT_ONCE_FOR_SYSTEM_SERVERS: usize = 100;

/// Queries in flight at each server that the user names, if the number of items in flight is not given.
/// Names without an answer stay in flight for seconds and must not occupy all slots.
const AT_ONCE: usize = 4096;

/// The maximum number of queries in flight at each server, if `in_flight` items may be in flight.
#[must_use]
pub fn queries_in_flight_max(
    in_flight: usize,
    in_flight_is_given: bool,
    servers_are_named: bool,
) -> usize {
    match (servers_are_named, in_flight_is_given) {
        (true, true) => in_flight,
        (true, false) => in_flight.min(AT_ONCE),
        (false, _) => in_flight.min(AT_ONCE_FOR_SYSTEM_SERVERS),
    }
}

/// What all loops share about one server.
#[derive(Debug)]
struct Shared {
    controller: Controller,
    /// The smoothed round-trip time, from the loop that reported last.
    reply_times: Option<Smoothed>,
    /// How many loops have a share of the limit so far.
    registered_loops: usize,
}

/// The limits on queries in flight at each server, which all loops share: with separate limits, a loop
/// that tries a higher one would take capacity from the others.
#[derive(Clone, Debug)]
pub struct SharedLimits {
    servers: Arc<[Mutex<Shared>]>,
    /// The index here of a resolver's first server.
    first: usize,
    loops: usize,
}

impl SharedLimits {
    /// For this many servers and loops. At most `max` queries are in flight at each server, all loops
    /// together.
    #[must_use]
    pub fn new(servers: usize, max: usize, loops: usize) -> Self {
        let shared = || {
            Mutex::new(Shared {
                controller: Controller::new(max),
                reply_times: None,
                registered_loops: 0,
            })
        };
        Self {
            servers: std::iter::repeat_with(shared).take(servers).collect(),
            first: 0,
            loops,
        }
    }

    /// The same, for a resolver whose only server has this index.
    pub(super) fn of_server(&self, first: usize) -> Self {
        Self {
            first,
            ..self.clone()
        }
    }

    fn server(&self, server: usize) -> MutexGuard<'_, Shared> {
        let shared = &self.servers[self.first + server];
        lock(shared)
    }
}

/// The limit of one loop for one server. It reports the outcomes of queries from time to time.
#[derive(Debug)]
pub(super) struct Limit {
    shared: SharedLimits,
    server: usize,
    /// The index of this loop among those that share the limit.
    loop_index: usize,
    value: usize,
    /// As many queries as allowed were in flight when the last one was sent.
    is_full: bool,
    /// The maximum that was in flight so far.
    most: usize,
    sample: Sample,
}

impl Limit {
    pub(super) fn new(shared: SharedLimits, server: usize) -> Self {
        let loops = shared.loops;
        let mut known = shared.server(server);
        let loop_index = known.registered_loops % loops;
        known.registered_loops += 1;
        drop(known);
        let mut limit = Self {
            shared,
            server,
            loop_index,
            value: 0,
            is_full: false,
            most: 0,
            sample: Sample::default(),
        };
        limit.report(&Estimate::default(), Duration::ZERO);
        limit
    }

    /// How many queries of this loop may be in flight at the server.
    pub(super) fn get(&self) -> usize {
        self.value
    }

    /// The limit of all loops together.
    pub(super) fn of_all_loops(&self) -> usize {
        self.shared.server(self.server).controller.limit()
    }

    /// A query was sent; `in_flight` are in flight now.
    pub(super) fn sent(&mut self, in_flight: usize) {
        self.is_full = in_flight >= self.value;
        self.most = self.most.max(in_flight);
        self.sample.was_full |= self.is_full;
    }

    /// A query was answered after this time.
    pub(super) fn answered(&mut self, time: Duration) {
        self.sample.answered += 1;
        self.sample.answered_time += time;
        self.ended(time);
    }

    /// The same for a query whose permit had expired already, so that it counted as lost.
    pub(super) fn answered_late(&mut self, time: Duration) {
        self.sample.answered += 1;
        self.sample.answered_time += time;
    }

    /// A query has ended, with or without an answer. It held its permit for this time.
    pub(super) fn ended(&mut self, permit_time: Duration) {
        self.sample.ended += 1;
        self.sample.permit_time += permit_time;
    }

    /// The smoothed round-trip time that a loop has reported.
    pub(super) fn reply_times(&self) -> Option<Smoothed> {
        self.shared.server(self.server).reply_times
    }

    /// True if there are other loops.
    pub(super) fn is_shared(&self) -> bool {
        self.shared.loops > 1
    }

    /// Reports ended queries, often enough to follow the limit, and rarely enough to be cheap. `estimate`
    /// is the round-trip time estimate of this loop.
    pub(super) fn report_in_time(&mut self, estimate: &Estimate, now: Duration) {
        let ended = self.sample.ended.max(self.sample.answered);
        if ended as usize >= (self.value / 8).clamp(1, 64) {
            self.report(estimate, now);
        }
    }

    fn report(&mut self, estimate: &Estimate, now: Duration) {
        let mut sample = std::mem::take(&mut self.sample);
        sample.was_full |= self.is_full;
        sample.was_half_full = 2 * self.most >= self.value;
        let mut shared = self.shared.server(self.server);
        shared.controller.add(&sample, estimate.permit_time(), now);
        shared.reply_times = estimate.known().or(shared.reply_times);
        let loops = self.shared.loops;
        // The shares add up to the limit, except that each is at least 1.
        let share = (shared.controller.limit() + loops - 1 - self.loop_index) / loops;
        self.value = share.max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A resolver counts its servers from 0, whatever their indices among all servers.
    #[test]
    fn a_resolver_of_one_server_has_the_limit_of_that() {
        let limits = SharedLimits::new(3, 64, 2);
        for number in 0..3 {
            let of_server = limits.of_server(number);
            let _held = of_server.server(0);
            let are_held = limits.servers.iter().map(|it| it.try_lock().is_err());
            let expected = (0..3).map(|at| at == number);
            assert!(are_held.eq(expected), "{number}");
        }
    }

    /// The shares of the loops add up to the limit, but each is at least 1.
    #[test]
    fn the_limit_is_shared_out() {
        for (max, loops) in [(64, 2), (7, 2), (7, 3), (9, 4), (1, 1)] {
            let limits = SharedLimits::new(1, max, loops);
            let shares = || (0..loops).map(|_| Limit::new(limits.clone(), 0).get());
            assert_eq!(shares().sum::<usize>(), max);
            assert!(shares().all(|share| share >= max / loops));
        }
        let limits = SharedLimits::new(1, 1, 2);
        assert_eq!([0, 1].map(|_| Limit::new(limits.clone(), 0).get()), [1, 1]);
    }
}
