//! When a request is sent again.

use super::failure::{Failure, Outlook};
use super::request::Request;
use crate::split_mix;
use http::header::{self, HeaderMap};
use std::time::{Duration, SystemTime};

/// The longest first pause; it doubles with each further one.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// True for a response that asks for fewer requests.
pub(super) fn is_throttled(status: u16) -> bool {
    matches!(status, 429 | 503)
}

/// True for a response of a server that may do better later.
pub(super) fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 429 | 502..=504)
}

/// True if the request may be sent again after this failure.
pub(super) fn may_retry(request: &Request, failure: &Failure) -> bool {
    match failure.outlook {
        Outlook::Permanent | Outlook::NotBegun => false,
        Outlook::NotSent => true,
        Outlook::MayBeProcessed => request.is_idempotent(),
    }
}

/// The pause that a response asks for (RFC 9110, section 10.2.3): seconds, or a date.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that does not fit is as good as endless.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// The pause after a number of failures in a row, if the server names none: at random up to a length that
/// doubles, so that items do not come back at the same time ("full jitter", M. Brooker, "Exponential Backoff And
/// Jitter", 2015). `random` is any number.
pub(super) fn back_off(failures: u32, random: u64) -> Duration {
    let longest = PAUSE.saturating_mul(1 << failures.min(16)).min(PAUSE_MAX);
    longest.mul_f64(fraction(random))
}

/// A number from 0 to 1 that looks random, for each number.
fn fraction(mut number: u64) -> f64 {
    let high = u32::try_from(split_mix::next(&mut number) >> 32).expect("32 bits are left");
    f64::from(high) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::HeaderValue;
    use std::time::UNIX_EPOCH;

    #[test]
    fn retry_after_in_seconds_or_as_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (text, expected) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:49:27 GMT", Some(0)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            let value = HeaderValue::from_str(text).unwrap();
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, value)]);
            assert_eq!(
                retry_after(&headers, now),
                expected.map(Duration::from_secs),
                "{text:?}"
            );
        }
    }

    #[test]
    fn pauses_grow_and_differ() {
        let longest = |failures| {
            (0..1000)
                .map(|random| back_off(failures, random))
                .max()
                .unwrap()
        };
        assert!(longest(0) <= PAUSE && longest(0) > PAUSE.mul_f64(0.9));
        assert!(longest(3) > PAUSE * 6 && longest(3) <= PAUSE * 8);
        assert!(longest(100) <= PAUSE_MAX && longest(100) > PAUSE_MAX.mul_f64(0.9));
        let shortest = (0..1000).map(|random| back_off(3, random)).min().unwrap();
        assert!(shortest < PAUSE);
    }
}
