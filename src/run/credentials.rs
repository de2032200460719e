//! Credentials for each loop.
//!
//! Every open takes a reference to its thread's credentials and the close gives it back. The threads
//! of a process start out with one common copy, whose counter then travels between the processors:
//! with two loops on a warm cache that is 8 % of the time in the kernel.

use rustix::thread::{get_keep_capabilities, set_keep_capabilities};

/// Gives the calling thread its own copy of its credentials, the same in all they say. Where that
/// cannot be, they stay shared, which is only slower.
pub(super) fn separate() {
    // The kernel replaces a thread's credentials whenever one of them is set, whatever to. This one
    // it forgets at the next exec anyway.
    let _shared_if_it_fails = get_keep_capabilities().and_then(set_keep_capabilities);
}
