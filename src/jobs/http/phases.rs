//! The phases of a request.

use crate::stats::Phase;

/// The time until the addresses of a name were known.
pub const RESOLVE: Phase = Phase::of_job(0, "resolve");
/// The time until it was the request's turn at its origin.
pub const PARK: Phase = Phase::of_job(1, "park");
/// The time from a connect to its result.
pub const CONNECT: Phase = Phase::of_job(2, "connect");
/// The time of a TLS handshake.
pub const TLS: Phase = Phase::of_job(3, "tls");
/// The time from the beginning of a request to the head of the response.
pub const FIRST_BYTE: Phase = Phase::of_job(4, "first-byte");
/// The time from the head of the response to the end of its body.
pub const BODY: Phase = Phase::of_job(5, "body");
