//! What happens to a query.

use std::time::Instant;

use super::behaviour::{Behaviour, Edns};
use super::message::{Content, FORMERR, NOTIMP, Query, REFUSED, SERVFAIL};
use super::schedule::Speed;

/// Whether there is an answer, when, and what it says.
pub enum Verdict {
    Nothing,
    Reply(Speed, Content),
}

/// Decides by the name and the OPT record; the same for datagrams and connections.
pub fn judge(behaviour: &Behaviour, query: &Query, is_datagram: bool) -> Verdict {
    let usual = |content| Verdict::Reply(Speed::Usual, content);
    let has_opt = query.has_opt();
    let fault = match behaviour.edns {
        _ if !has_opt => None,
        Edns::Answer | Edns::Ignore => None,
        Edns::Drop => return Verdict::Nothing,
        Edns::FormErr => Some(FORMERR),
        Edns::NotImp => Some(NOTIMP),
        Edns::ServFail => Some(SERVFAIL),
    };
    let opt = has_opt && behaviour.edns == Edns::Answer;
    let failure = |rcode| Content {
        rcode,
        opt,
        ..Content::default()
    };
    if let Some(rcode) = fault {
        return usual(failure(rcode));
    }
    let address = Content {
        opt,
        answer: true,
        ..Content::default()
    };
    match query.letter() {
        b'x' => Verdict::Nothing,
        b'w' => Verdict::Reply(Speed::Slow, address),
        b's' => usual(failure(SERVFAIL)),
        b'r' => usual(failure(REFUSED)),
        b't' if is_datagram => usual(Content {
            truncated: true,
            ..failure(0)
        }),
        b'f' => usual(Content {
            forged: true,
            ..address
        }),
        _ => usual(address),
    }
}

/// Queries a second, with a small burst.
pub struct TokenBucket {
    per_second: f64,
    tokens_max: f64,
    tokens: f64,
    filled_at: Instant,
}

impl TokenBucket {
    /// The burst is as many queries as the rate allows in a fiftieth of a second.
    pub fn new(per_second: u32, now: Instant) -> Self {
        let tokens_max = (f64::from(per_second) / 50.0).max(1.0);
        Self {
            per_second: per_second.into(),
            tokens_max,
            tokens: tokens_max,
            filled_at: now,
        }
    }

    pub fn take(&mut self, now: Instant) -> bool {
        let since = now.duration_since(self.filled_at).as_secs_f64();
        self.tokens = (self.tokens + since * self.per_second).min(self.tokens_max);
        self.filled_at = now;
        let has_one = self.tokens >= 1.0;
        if has_one {
            self.tokens -= 1.0;
        }
        has_one
    }
}

/// Which queries are lost (SplitMix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn happens(&mut self, percent: u64) -> bool {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % 100 < percent
    }
}
