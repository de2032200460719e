//! Threads that are still blocked in a system call when the run has ended. The process cannot end before
//! these calls return.

use crate::sink::messages;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

/// The number of threads that a message names.
const NAMED_MAX: usize = 3;

/// Calls that were just given up may still return, so the threads are checked several times.
const CHECKS: u32 = 5;
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// How often the threads are checked at most, while some of them wait for a processor.
const CHECKS_MAX: u32 = 100;

/// What a thread does that runs items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// It is blocked in a system call.
    Blocked,
    /// It runs or waits for a processor: it may still block, or end.
    Running,
    /// It has no item, or has ended.
    Nothing,
}

/// Reports the threads that keep the process from ending, if there are any.
pub(super) fn report() {
    let mut checks_blocked = 0;
    for _ in 0..CHECKS_MAX {
        let (blocked, any_runs) = find();
        if !blocked.is_empty() {
            checks_blocked += 1;
        } else if any_runs {
            checks_blocked = 0;
        } else {
            return;
        }
        if checks_blocked > CHECKS {
            return messages::about_run(&format_args!(
                "system calls do not return; the process ends when the kernel releases {}",
                listed(&blocked)
            ));
        }
        sleep(CHECK_INTERVAL);
    }
}

fn listed(threads: &[String]) -> String {
    let mut listed = threads[..threads.len().min(NAMED_MAX)].join(", ");
    if threads.len() > NAMED_MAX {
        listed += &format!(" and {} more", threads.len() - NAMED_MAX);
    }
    listed
}

/// Threads of ours that run items or list directories, and kernel threads of a ring: those that are blocked in a
/// system call, and whether any other one runs.
fn find() -> (Vec<String>, bool) {
    let Ok(threads) = fs::read_dir("/proc/self/task") else {
        return (Vec::new(), false);
    };
    let mut any_runs = false;
    let found = threads.filter_map(|thread| {
        let path = thread.ok()?.path();
        let id = path.file_name()?.to_str()?.to_owned();
        let stat = fs::read_to_string(path.join("stat")).ok()?;
        let (name, state) = name_and_state(&stat)?;
        let doing = doing(name, state);
        any_runs |= doing == Doing::Running;
        if doing != Doing::Blocked {
            return None;
        }
        let place = fs::read_to_string(path.join("wchan")).unwrap_or_default();
        Some(match place.as_str() {
            "" | "0" => format!("thread {id} ({name})"),
            place => format!("thread {id} ({name}, in {place})"),
        })
    });
    let found = found.collect();
    (found, any_runs)
}

/// What a thread with this name does in this state (proc_pid_stat(5)).
fn doing(name: &str, state: char) -> Doing {
    let is_ours = matches!(name, "ringmill-io" | "ringmill-list");
    if !is_ours && !name.starts_with("iou-wrk") {
        return Doing::Nothing;
    }
    match state {
        'D' => Doing::Blocked,
        'R' => Doing::Running,
        // An idle kernel thread of a ring is in state S; ours end when they have nothing to do.
        'S' if is_ours => Doing::Blocked,
        _ => Doing::Nothing,
    }
}

/// Parses a line such as `17 (ringmill-io) S 1 …` (proc_pid_stat(5)).
fn name_and_state(stat: &str) -> Option<(&str, char)> {
    let (_, rest) = stat.split_once('(')?;
    let (name, rest) = rest.rsplit_once(')')?;
    Some((name, rest.trim_start().chars().next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat = "17 (a ) S (b) D 1 17";
        assert_eq!(name_and_state(stat), Some(("a ) S (b", 'D')));
        assert_eq!(name_and_state(""), None);
    }

    /// On a busy machine a thread may have begun its call, and wait for a processor before it blocks.
    #[test]
    fn what_threads_do() {
        for (name, state, expected) in [
            ("ringmill-io", 'S', Doing::Blocked),
            ("ringmill-list", 'D', Doing::Blocked),
            ("ringmill-io", 'R', Doing::Running),
            ("ringmill-io", 'X', Doing::Nothing),
            ("iou-wrk-17", 'D', Doing::Blocked),
            ("iou-wrk-17", 'R', Doing::Running),
            ("iou-wrk-17", 'S', Doing::Nothing),
            ("ringmill", 'R', Doing::Nothing),
            ("ringmill-loop0", 'D', Doing::Nothing),
        ] {
            assert_eq!(doing(name, state), expected, "{name} {state}");
        }
    }

    #[test]
    fn a_few_threads_are_named() {
        let threads: Vec<_> = (1..=5).map(|id| format!("thread {id}")).collect();
        assert_eq!(listed(&threads[..1]), "thread 1");
        assert_eq!(listed(&threads), "thread 1, thread 2, thread 3 and 2 more");
    }
}
