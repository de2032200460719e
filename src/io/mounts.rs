//! What the file system of each mount can do without blocking.

use rustix::fs::{Statx, StatxFlags};
use std::collections::HashMap;

/// How reads on a file system behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// Reads can be tried without blocking; the ring retries by itself those that would block.
    Nowait,
    /// Everything is in memory: a plain call is the fastest way and does not block.
    Memory,
    /// Any call may block for an unlimited time on a server or a user-space program, or it is not
    /// known whether it may.
    Blocking,
}

/// A mount, by its ID from statx. The default is an unknown mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountId(Option<u64>);

impl MountId {
    /// The mount that metadata are from.
    pub(crate) fn of(statx: &Statx) -> Self {
        let is_known = statx.stx_mask & StatxFlags::MNT_ID.bits() != 0;
        Self(is_known.then_some(statx.stx_mnt_id))
    }

    /// The mount with this ID.
    #[cfg(test)]
    pub(crate) fn number(id: u64) -> Self {
        Self(Some(id))
    }

    /// Its mount point, for messages.
    pub(crate) fn mount_point(self) -> Option<String> {
        let mountinfo = std::fs::read("/proc/self/mountinfo").ok()?;
        let mut mounts = parse_mountinfo(&mountinfo);
        let mount = mounts.find(|mount| Some(mount.id) == self.0)?;
        Some(String::from_utf8_lossy(mount.mount_point).into_owned())
    }
}

/// Remembers the kind of file system of each mount ID.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    by_id: HashMap<u64, FileSystem>,
    /// The last one looked up, which is mostly also the next.
    last: Option<(u64, FileSystem)>,
}

impl Mounts {
    /// The file system that metadata are from. If it is not known, anything may block.
    pub(crate) fn file_system_of(&mut self, statx: &Statx) -> FileSystem {
        MountId::of(statx)
            .0
            .map_or(FileSystem::Blocking, |id| self.file_system(id))
    }

    /// The file system of a mount ID from statx. Unknown IDs are looked up once in
    /// `/proc/self/mountinfo` (which asks no server).
    fn file_system(&mut self, mount_id: u64) -> FileSystem {
        if let Some((id, known)) = self.last
            && id == mount_id
        {
            return known;
        }
        let found = self.look_up(mount_id);
        self.last = Some((mount_id, found));
        found
    }

    fn look_up(&mut self, mount_id: u64) -> FileSystem {
        if let Some(&known) = self.by_id.get(&mount_id) {
            return known;
        }
        if let Ok(mountinfo) = std::fs::read("/proc/self/mountinfo") {
            let mounts = parse_mountinfo(&mountinfo);
            self.by_id
                .extend(mounts.map(|mount| (mount.id, mount.file_system)));
        }
        *self.by_id.entry(mount_id).or_insert(FileSystem::Blocking)
    }
}

/// Reads mount numbers and file system types from lines such as
/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
/// (proc_pid_mountinfo(5)).
fn parse_mountinfo(mountinfo: &[u8]) -> impl Iterator<Item = Mount<'_>> {
    mountinfo.split(|&byte| byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|&byte| byte == b' ');
        let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        let mount_point = fields.nth(3)?;
        let file_system = classify(fields.skip_while(|&field| field != b"-").nth(1)?);
        Some(Mount {
            id,
            mount_point,
            file_system,
        })
    })
}

/// A line of mountinfo.
#[derive(Debug, PartialEq, Eq)]
struct Mount<'a> {
    id: u64,
    mount_point: &'a [u8],
    file_system: FileSystem,
}

/// Classifies a file system by its type. Any call may block on types that are not listed here.
fn classify(file_system: &[u8]) -> FileSystem {
    match file_system {
        b"ext2" | b"ext3" | b"ext4" | b"xfs" | b"btrfs" | b"f2fs" => FileSystem::Nowait,
        b"tmpfs" | b"ramfs" => FileSystem::Memory,
        _ => FileSystem::Blocking,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_is_read_past_its_optional_fields() {
        let text = b"36 35 98:0 /a /b rw master:1 propagate_from:2 - ext4 /dev/x rw\n\
                     40 35 0:30 / /tmp rw - tmpfs tmpfs rw\n\
                     bad line\n\
                     41 35 0:31 / /mnt/- rw shared:3 - fuse.sshfs host: rw\n";
        let parsed = parse_mountinfo(text);
        let parsed: Vec<_> = parsed
            .map(|mount| (mount.id, mount.mount_point, mount.file_system))
            .collect();
        assert_eq!(
            parsed,
            [
                (36, &b"/b"[..], FileSystem::Nowait),
                (40, b"/tmp", FileSystem::Memory),
                (41, b"/mnt/-", FileSystem::Blocking)
            ]
        );
    }

    #[test]
    fn an_unknown_mount_may_block() {
        assert_eq!(
            Mounts::default().file_system(u64::MAX),
            FileSystem::Blocking
        );
    }
}
