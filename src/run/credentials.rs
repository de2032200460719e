//! Credentials for each loop.
//!
//! Every open takes a reference to its thread's credentials and the close releases it. The threads of a
//! process start with one common copy, and the cache line of its reference count then moves between the
//! processors: with two loops on a warm cache that is 8 % of the time in the kernel.

use rustix::thread::{get_keep_capabilities, set_keep_capabilities};

/// Gives the calling thread its own copy of its credentials, with the same contents. If that fails, they
/// stay shared, which is only slower.
pub(super) fn separate() {
    // The kernel copies a thread's credentials whenever one of them is set, even to the same value. This
    // one has no effect after the next exec anyway.
    let _shared_if_it_fails = get_keep_capabilities().and_then(set_keep_capabilities);
}
