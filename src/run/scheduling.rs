//! When a loop gets the processor.
//!
//! A thread that wakes takes the processor from one that is running. Where the server runs on the same
//! machine, a loop that waits for replies then takes it after the first reply, asks one more question
//! and waits again: up to one change of threads for each reply, instead of one for dozens. The same
//! happens between loop and emitter.

/// From now on the calling thread waits, when it wakes, until those that run have had their turn. Its
/// share of the processors stays the same, and one that is free it gets at once. Threads that it starts
/// are the same. If it has a policy of its own (real-time, idle), or if it may not choose, it keeps what
/// it has.
pub(super) fn wait_for_turn() {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the calls concern the calling thread alone, and read one integer, which lives until they
    // have returned.
    let _as_before_if_it_fails = unsafe {
        if libc::sched_getscheduler(0) == libc::SCHED_OTHER {
            libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters)
        } else {
            0
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_for_the_calling_thread() {
        // SAFETY: the call reads no memory.
        let policy = || unsafe { libc::sched_getscheduler(0) };
        let before = policy();
        let thread = std::thread::spawn(move || {
            wait_for_turn();
            policy()
        });
        let own = thread.join().unwrap();
        if before == libc::SCHED_OTHER {
            assert_eq!(own, libc::SCHED_BATCH);
        }
        assert_eq!(policy(), before);
    }
}
