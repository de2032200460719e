//! The scheduling policy of a loop's thread.
//!
//! By default a thread that wakes preempts one that is running. If the server runs on the same machine, a
//! loop that waits for replies then preempts it after the first reply, sends one more query and waits
//! again: up to one context switch for each reply, instead of one for dozens. The same happens between
//! loop and emitter.

/// From now on the calling thread does not preempt running threads when it wakes (SCHED_BATCH). Its share
/// of processor time stays the same, and it gets a free processor at once. Threads that it starts inherit
/// this. If it has another policy (real-time, idle), or may not change it, the policy stays as it is.
pub(super) fn wait_for_turn() {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the calls concern the calling thread alone, and read one integer, which lives until they
    // have returned.
    let _unchanged_if_it_fails = unsafe {
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
