//! Facts about the machine, without which a measurement is of little use.

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use rustix::system::uname;
use serde::Serialize;
use std::fs;
use std::path::Path;

/// The machine a run was on.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    kernel: String,
    cpu_model: Option<String>,
    /// Processors that are online.
    cores: Option<usize>,
    /// Processors that this process may use.
    cores_usable: usize,
    /// The frequency governor of the first processor; unknown in most virtual machines.
    governor: Option<String>,
    memory_bytes: Option<u64>,
    /// The file system of the first item that succeeded.
    file_system: Option<FileSystemFacts>,
}

/// A mounted file system.
#[derive(Clone, Debug, Serialize)]
pub struct FileSystemFacts {
    #[serde(rename = "type")]
    kind: String,
    /// The options of the mount and of the file system, as the kernel lists them.
    mount_options: String,
}

impl Machine {
    /// This machine, with the file system of the first item that succeeded.
    #[must_use]
    pub fn here(file_system: Option<FileSystemFacts>) -> Self {
        let uname = uname();
        let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        let (system, release) = (text(uname.sysname()), text(uname.release()));
        let architecture = text(uname.machine());
        let cpu_info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let governor = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";
        Self {
            kernel: format!("{system} {release} {architecture}"),
            cpu_model: field(&cpu_info, "model name").map(str::to_owned),
            cores: fs::read_to_string("/sys/devices/system/cpu/online")
                .ok()
                .and_then(|list| count_in_list(list.trim())),
            cores_usable: std::thread::available_parallelism().map_or(1, usize::from),
            governor: fs::read_to_string(governor)
                .ok()
                .map(|text| text.trim().to_owned()),
            memory_bytes: memory_bytes(),
            file_system,
        }
    }
}

impl FileSystemFacts {
    /// The mount of a path. The kernel returns the mount's id, so it need not be guessed from path names.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let answer = statx(CWD, path, AtFlags::STATX_DONT_SYNC, StatxFlags::MNT_ID).ok()?;
        if answer.stx_mask & StatxFlags::MNT_ID.bits() == 0 {
            return None;
        }
        let mounts = fs::read("/proc/self/mountinfo").ok()?;
        find_mount(&String::from_utf8_lossy(&mounts), answer.stx_mnt_id)
    }
}

/// The value in the first line `NAME : VALUE`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

/// How many numbers there are in a list such as `0-3,8`.
fn count_in_list(list: &str) -> Option<usize> {
    let lengths = list.split(',').map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        (last + 1).checked_sub(first)
    });
    lengths.sum()
}

fn memory_bytes() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let kib: u64 = field(&info, "MemTotal")?
        .strip_suffix(" kB")?
        .parse()
        .ok()?;
    Some(kib * 1024)
}

/// Reads lines such as `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
/// (proc_pid_mountinfo(5)).
fn find_mount(mountinfo: &str, mount_id: u64) -> Option<FileSystemFacts> {
    mountinfo.lines().find_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ');
        if mount.next()?.parse() != Ok(mount_id) {
            return None;
        }
        let mut file_system = file_system.split(' ');
        let (kind, of_file_system) = (file_system.next()?, file_system.nth(1)?);
        Some(FileSystemFacts {
            kind: kind.to_owned(),
            mount_options: merge_options(mount.nth(4)?, of_file_system),
        })
    })
}

fn merge_options(of_mount: &str, of_file_system: &str) -> String {
    let mut options: Vec<&str> = of_mount.split(',').collect();
    for option in of_file_system.split(',') {
        if !options.contains(&option) {
            options.push(option);
        }
    }
    options.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_by_its_number() {
        let mountinfo = "\
35 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
36 35 98:0 /mnt1 /mnt2 ro,noatime master:1 - xfs /dev/sdb rw,attr2,noatime
";
        let found = find_mount(mountinfo, 36).unwrap();
        assert_eq!(found.kind, "xfs");
        assert_eq!(found.mount_options, "ro,noatime,rw,attr2");
        assert!(find_mount(mountinfo, 3).is_none());
    }

    #[test]
    fn processors_are_counted() {
        assert_eq!(count_in_list("0-3,8"), Some(5));
        assert_eq!(count_in_list("0"), Some(1));
        assert_eq!(count_in_list(""), None);
    }

    #[test]
    fn this_machine_has_a_kernel_and_memory() {
        let machine = Machine::here(FileSystemFacts::of(Path::new("/proc/self/stat")));
        assert!(machine.kernel.starts_with("Linux "));
        assert!(machine.memory_bytes > Some(1 << 20));
        assert_eq!(machine.file_system.unwrap().kind, "proc");
    }
}
