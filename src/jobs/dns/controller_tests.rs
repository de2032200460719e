//! Tests of the limit with several kinds of simulated servers, on a simulated clock.

use super::controller::{Controller, Sample};
use super::random::Random;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

const MAX: usize = 4096;
const MS: Duration = Duration::from_millis(1);

/// Sends `count` queries, as many at a time as the limit allows. `network` gets the time, the number of
/// queries in flight and a random number from 0 to 99, and returns the round-trip time, or `None` if
/// there is no reply. A query without a reply holds its permit for `permit_time`. Returns the final limit
/// and how many queries were lost.
fn ask(
    count: usize,
    permit_time: Duration,
    mut network: impl FnMut(Duration, usize, u64) -> Option<Duration>,
) -> (usize, usize) {
    let mut controller = Controller::new(MAX);
    let (mut random, mut now, mut lost) = (Random::seeded(7), Duration::ZERO, 0);
    let mut in_flight: BinaryHeap<Reverse<(Duration, Duration, bool)>> = BinaryHeap::new();
    for _ in 0..count {
        let was_full = true;
        while in_flight.len() < controller.limit() {
            let reply = network(now, in_flight.len(), u64::from(random.next_u16()) % 100);
            let time = reply.unwrap_or(permit_time);
            in_flight.push(Reverse((now + time, time, reply.is_some())));
        }
        let Some(Reverse((at, time, is_reply))) = in_flight.pop() else {
            break;
        };
        now = at;
        lost += usize::from(!is_reply);
        let sample = Sample {
            ended: 1,
            answered: u32::from(is_reply),
            answered_time: if is_reply { time } else { Duration::ZERO },
            permit_time: time,
            was_full,
            was_half_full: true,
        };
        controller.add(&sample, permit_time, now);
    }
    (controller.limit(), lost)
}

#[test]
fn losses_at_every_limit_do_not_lower_it() {
    for percent in [5, 30] {
        let (limit, lost) = ask(400_000, 70 * MS, |_, _, random| {
            (random >= percent).then_some(50 * MS)
        });
        assert!(lost > 10_000);
        assert!(limit >= MAX / 2, "{percent}: {limit}");
    }
}

#[test]
fn a_server_that_asks_others_is_not_considered_slow() {
    let time = |random| if random < 50 { MS } else { 100 * MS };
    let (limit, _) = ask(200_000, 300 * MS, |_, _, random| Some(time(random)));
    assert!(limit >= MAX / 2, "{limit}");
}

#[test]
fn queries_do_not_queue_at_the_server() {
    // It answers one query after another, 50,000 per second, and the network takes 1 ms: 50 queries keep
    // it busy.
    let mut free_at = Duration::ZERO;
    let (limit, _) = ask(200_000, 100 * MS, |now, _, _| {
        free_at = free_at.max(now) + Duration::from_micros(20);
        Some(free_at - now + MS)
    });
    assert!((50..=1_000).contains(&limit), "{limit}");
}

#[test]
fn the_limit_finds_the_size_of_a_small_queue() {
    // At most 100 queries wait for their replies.
    let mut waiting: BinaryHeap<Reverse<Duration>> = BinaryHeap::new();
    let (limit, lost) = ask(40_000, 40 * MS, |now, _, _| {
        while waiting.peek().is_some_and(|&Reverse(until)| until <= now) {
            waiting.pop();
        }
        if waiting.len() >= 100 {
            return None;
        }
        waiting.push(Reverse(now + 20 * MS));
        Some(20 * MS)
    });
    assert!((80..=150).contains(&limit), "{limit}");
    assert!(lost < 2_500, "{lost}");
}

#[test]
fn what_a_server_drops_beyond_its_rate_is_not_sent_for_long() {
    // 10,000 per second, in bursts of up to 100.
    let (mut tokens, mut last) = (100.0_f64, Duration::ZERO);
    let (limit, lost) = ask(100_000, 30 * MS, |now, _, _| {
        tokens = (tokens + (now - last).as_secs_f64() * 10_000.0).min(100.0);
        last = now;
        let answers = tokens >= 1.0;
        tokens -= f64::from(u8::from(answers));
        answers.then_some(10 * MS)
    });
    // 10,000 per second at 10 ms each are 100 queries in flight.
    assert!((80..=200).contains(&limit), "{limit}");
    assert!(lost < 8_000, "{lost}");
}

/// Each loop reads the clock itself.
#[test]
fn time_may_go_back_from_loop_to_loop() {
    let mut controller = Controller::new(MAX);
    let sample = Sample {
        ended: 8,
        answered: 8,
        answered_time: 8 * MS,
        permit_time: 8 * MS,
        was_full: true,
        was_half_full: true,
    };
    for number in 0..10_000_u32 {
        let now = MS * (number + 10 * (number % 2));
        controller.add(&sample, 40 * MS, now);
    }
    assert!(controller.limit() >= 320);
}
