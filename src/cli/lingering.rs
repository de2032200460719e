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

/// Reports the threads that keep the process from ending, if there are any.
pub(super) fn report() {
    let mut threads = find();
    for _ in 0..CHECKS {
        if threads.is_empty() {
            return;
        }
        sleep(CHECK_INTERVAL);
        threads = find();
    }
    if !threads.is_empty() {
        messages::about_run(&format_args!(
            "system calls do not return; the process ends when the kernel releases {}",
            listed(&threads)
        ));
    }
}

fn listed(threads: &[String]) -> String {
    let mut listed = threads[..threads.len().min(NAMED_MAX)].join(", ");
    if threads.len() > NAMED_MAX {
        listed += &format!(" and {} more", threads.len() - NAMED_MAX);
    }
    listed
}

/// Threads of ours that run items or list directories, and kernel threads of a ring, if they are blocked in
/// a system call.
fn find() -> Vec<String> {
    let Ok(threads) = fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    let found = threads.filter_map(|thread| {
        let path = thread.ok()?.path();
        let id = path.file_name()?.to_str()?.to_owned();
        let stat = fs::read_to_string(path.join("stat")).ok()?;
        let (name, state) = name_and_state(&stat)?;
        // An idle kernel thread of a ring is in state S.
        let is_in_call = match name {
            "ringmill-io" | "ringmill-list" => matches!(state, 'S' | 'D'),
            _ => name.starts_with("iou-wrk") && state == 'D',
        };
        if !is_in_call {
            return None;
        }
        let place = fs::read_to_string(path.join("wchan")).unwrap_or_default();
        Some(match place.as_str() {
            "" | "0" => format!("thread {id} ({name})"),
            place => format!("thread {id} ({name}, in {place})"),
        })
    });
    found.collect()
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

    #[test]
    fn a_few_threads_are_named() {
        let threads: Vec<_> = (1..=5).map(|id| format!("thread {id}")).collect();
        assert_eq!(listed(&threads[..1]), "thread 1");
        assert_eq!(listed(&threads), "thread 1, thread 2, thread 3 and 2 more");
    }
}
