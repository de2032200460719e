//! Threads that are still in a call when everything else has ended. The process ends only with them.

use crate::sink::messages;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

/// Threads that are named.
const NAMED_MAX: usize = 3;

/// What is given up a moment ago may end at any moment.
const LOOKS: u32 = 5;
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Says which threads the kernel has to let go of before the process can end, if there are any.
pub(super) fn tell() {
    let mut threads = find();
    for _ in 0..LOOKS {
        if threads.is_empty() {
            return;
        }
        sleep(LOOK_INTERVAL);
        threads = find();
    }
    if !threads.is_empty() {
        messages::about_run(&format_args!(
            "calls do not return; the process ends when the kernel lets go of {}",
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

/// Threads that run items or list directories, or that the kernel has made for a ring, and that wait in
/// a call.
fn find() -> Vec<String> {
    let Ok(threads) = fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    let found = threads.filter_map(|thread| {
        let path = thread.ok()?.path();
        let id = path.file_name()?.to_str()?.to_owned();
        let stat = fs::read_to_string(path.join("stat")).ok()?;
        let (name, state) = name_and_state(&stat)?;
        // A thread of a ring that has nothing to do sleeps.
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

/// Of a line such as `17 (ringmill-io) S 1 …` (proc_pid_stat(5)).
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
