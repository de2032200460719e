//! A circuit breaker for one server: a server that is completely silent gets only probes until its first
//! reply.

use std::time::Duration;

/// The circuit opens after this many names whose first attempts had no reply, all sent after the last
/// reply.
const UNANSWERED_MAX: u32 = 16;

/// The back-off between the end of a probe and the next probe, at first and at most.
const PAUSE_INITIAL: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// How long names are held back for a server that has never replied.
const HOLD_UNKNOWN: Duration = Duration::from_secs(5);

/// An unreachable server (nothing listens there) that has never replied is given up after this time.
const UNREACHABLE_UNKNOWN: Duration = Duration::from_secs(2);

/// The circuit breaker of one server.
#[derive(Debug)]
pub(super) struct Circuit {
    /// How long names are held back for a server that has replied before.
    hold: Duration,
    last_reply_at: Option<Duration>,
    unanswered: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    since: Duration,
    /// Since when the system has reported the server as unreachable, if it has.
    unreachable_since: Option<Duration>,
    probe_at: Duration,
    pause: Duration,
    /// When the probe in flight was sent.
    probe_sent_at: Option<Duration>,
}

impl Circuit {
    /// `hold` is how long names wait for a server that has replied before.
    pub(super) fn new(hold: Duration) -> Self {
        Self {
            hold,
            last_reply_at: None,
            unanswered: 0,
            open: None,
        }
    }

    /// The server has sent a reply, whatever its content: closes the circuit.
    pub(super) fn reply_received(&mut self, now: Duration) {
        self.last_reply_at = Some(now);
        self.unanswered = 0;
        self.open = None;
    }

    /// True if the server has ever replied.
    pub(super) fn has_replied(&self) -> bool {
        self.last_reply_at.is_some()
    }

    /// True if the server seems to be silent.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// An attempt that was sent at `sent_at` had no reply. Only first attempts are evidence: a name
    /// without an answer fails more than once.
    pub(super) fn unanswered(&mut self, is_first: bool, sent_at: Duration, now: Duration) {
        if is_first && self.last_reply_at.is_none_or(|at| sent_at >= at) {
            self.unanswered += 1;
        }
        if self.unanswered >= UNANSWERED_MAX && self.open.is_none() {
            self.open = Some(Open::new(now));
        }
    }

    /// The system reports that nothing listens at the server. A probe in flight has failed, too.
    pub(super) fn unreachable(&mut self, now: Duration) {
        let open = self.open.get_or_insert_with(|| Open::new(now));
        open.unreachable_since.get_or_insert(now);
        if open.probe_sent_at.is_some() {
            open.end_probe(now);
        }
    }

    /// A probe was sent.
    pub(super) fn probe_sent(&mut self, now: Duration) {
        if let Some(open) = &mut self.open {
            open.probe_sent_at = Some(now);
        }
    }

    /// The probe that was sent at `sent_at` had no reply. It may belong to an earlier time when the
    /// circuit was open.
    pub(super) fn probe_ended(&mut self, sent_at: Duration, now: Duration) {
        if let Some(open) = &mut self.open
            && open.probe_sent_at == Some(sent_at)
        {
            open.end_probe(now);
        }
    }

    /// When a probe is due. `None` if the circuit is closed, or a probe is in flight (half-open).
    pub(super) fn probe_at(&self) -> Option<Duration> {
        let open = self.open.as_ref()?;
        open.probe_sent_at.is_none().then_some(open.probe_at)
    }

    /// Until when names without an attempt are held back.
    pub(super) fn holds_new_until(&self) -> Option<Duration> {
        let open = self.open.as_ref()?;
        Some(match (open.unreachable_since, self.has_replied()) {
            (Some(since), false) => since + UNREACHABLE_UNKNOWN,
            (None, false) => open.since + HOLD_UNKNOWN,
            (_, true) => open.since + self.hold,
        })
    }

    /// Until when names with earlier attempts are held back: they save their remaining attempts for a
    /// server that has replied before or is unreachable. At a server that was always silent they
    /// continue.
    pub(super) fn holds_retries_until(&self) -> Option<Duration> {
        let open = self.open.as_ref()?;
        if open.unreachable_since.is_none() && !self.has_replied() {
            return None;
        }
        self.holds_new_until()
    }

    /// True if the server has been unreachable for so long that names no longer wait for it.
    pub(super) fn is_given_up(&self, now: Duration) -> bool {
        let is_unreachable = |open: &Open| open.unreachable_since.is_some();
        self.open.as_ref().is_some_and(is_unreachable)
            && self.holds_new_until().is_some_and(|until| until <= now)
    }
}

impl Open {
    fn new(now: Duration) -> Self {
        Self {
            since: now,
            unreachable_since: None,
            probe_at: now,
            pause: PAUSE_INITIAL,
            probe_sent_at: None,
        }
    }

    fn end_probe(&mut self, now: Duration) {
        self.probe_sent_at = None;
        self.probe_at = now + self.pause;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: Duration = Duration::from_secs(20);

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A circuit after this many names without a reply, all sent at 10 ms.
    fn after(names: u32, replied_at: Option<Duration>) -> Circuit {
        let mut circuit = Circuit::new(HOLD);
        replied_at
            .into_iter()
            .for_each(|at| circuit.reply_received(at));
        (0..names).for_each(|_| circuit.unanswered(true, at(10), at(510)));
        circuit
    }

    #[test]
    fn sixteen_names_without_a_sign_of_life_open_it() {
        assert!(!after(15, None).is_open());
        assert!(after(16, None).is_open());
        // They were sent before the last reply.
        assert!(!after(16, Some(at(20))).is_open());
        let mut circuit = after(15, None);
        circuit.unanswered(false, at(10), at(510));
        assert!(
            !circuit.is_open(),
            "another attempt for a name is no evidence"
        );
        let mut circuit = after(16, None);
        circuit.reply_received(at(600));
        assert!(!circuit.is_open() && circuit.probe_at().is_none());
    }

    #[test]
    fn probes_come_after_longer_and_longer_pauses() {
        let mut circuit = after(16, None);
        assert_eq!(circuit.probe_at(), Some(at(510)));
        circuit.probe_sent(at(600));
        assert_eq!(circuit.probe_at(), None);
        circuit.probe_ended(at(600), at(1_000));
        assert_eq!(circuit.probe_at(), Some(at(1_100)));
        circuit.probe_sent(at(1_100));
        circuit.probe_ended(at(1_100), at(2_000));
        assert_eq!(circuit.probe_at(), Some(at(2_200)));
    }

    #[test]
    fn a_probe_of_an_earlier_silence_ends_no_later_one() {
        let mut circuit = after(16, None);
        circuit.probe_sent(at(600));
        circuit.reply_received(at(700));
        circuit.unreachable(at(800));
        circuit.probe_sent(at(800));
        assert_eq!(circuit.probe_at(), None);
        circuit.probe_ended(at(600), at(900));
        assert_eq!(circuit.probe_at(), None);
        circuit.probe_ended(at(800), at(1_000));
        assert_eq!(circuit.probe_at(), Some(at(1_100)));
    }

    #[test]
    fn names_wait_longest_for_a_server_that_has_answered() {
        let silent = after(16, None);
        assert_eq!(silent.holds_new_until(), Some(at(510) + HOLD_UNKNOWN));
        assert_eq!(silent.holds_retries_until(), None);
        let known = after(16, Some(at(5)));
        assert_eq!(known.holds_new_until(), Some(at(510) + HOLD));
        assert_eq!(known.holds_retries_until(), Some(at(510) + HOLD));
        let mut unreachable = Circuit::new(HOLD);
        unreachable.unreachable(at(100));
        unreachable.unreachable(at(900));
        assert_eq!(unreachable.holds_retries_until(), Some(at(2_100)));
        assert!(!unreachable.is_given_up(at(2_099)) && unreachable.is_given_up(at(2_100)));
        assert!(!silent.is_given_up(at(100_000)));
    }
}
