//! What the file systems of the mounted file trees can do without blocking.

use rustix::fs::{Statx, StatxFlags};
use std::collections::HashMap;

/// How reads on a file system behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// Reads can be tried without blocking; the ring retries by itself those that would block.
    Nowait,
    /// Everything is in memory: a plain call is the fastest way and does not block.
    Memory,
    /// Any call may block for as long as a server or a user-space program likes, or it is not
    /// known whether it may.
    Blocking,
}

/// A mounted file tree, by its number from statx; the default is none that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountId(Option<u64>);

impl MountId {
    /// Of metadata.
    pub(crate) fn of(statx: &Statx) -> Self {
        let is_known = statx.stx_mask & StatxFlags::MNT_ID.bits() != 0;
        Self(is_known.then_some(statx.stx_mnt_id))
    }

    /// With this number.
    #[cfg(test)]
    pub(crate) fn number(id: u64) -> Self {
        Self(Some(id))
    }

    /// Where it is mounted, for people.
    pub(crate) fn mount_point(self) -> Option<String> {
        let mountinfo = std::fs::read("/proc/self/mountinfo").ok()?;
        let mut mounts = parse_mountinfo(&mountinfo);
        let mount = mounts.find(|mount| Some(mount.id) == self.0)?;
        Some(String::from_utf8_lossy(mount.mount_point).into_owned())
    }
}

/// Remembers the kind of file system behind each mount number.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    by_id: HashMap<u64, FileSystem>,
    /// The one asked for last, which is mostly the one asked for next.
    last: Option<(u64, FileSystem)>,
}

impl Mounts {
    /// The file system that metadata are from. On one that is not known, anything may block.
    pub(crate) fn file_system_of(&mut self, statx: &Statx) -> FileSystem {
        MountId::of(statx)
            .0
            .map_or(FileSystem::Blocking, |id| self.file_system(id))
    }

    /// The file system behind a mount number from statx; unknown numbers are looked up once in
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

/// A line of it.
#[derive(Debug, PartialEq, Eq)]
struct Mount<'a> {
    id: u64,
    mount_point: &'a [u8],
    file_system: FileSystem,
}

/// Those known to keep the promise; all others may block.
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
