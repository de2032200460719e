//! Finds out where the path of an output leads, without opening it.

use crate::io::FileId;
use rustix::fs::{FileType, Stat, fstat, major, minor, stat};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The maximum number of symbolic links to follow, as in the kernel (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// Identifies a file whose content a writer would overwrite. FIFOs, sockets and character devices have no
/// such content: several writers may share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Regular(FileId),
    /// By its device number: several files may stand for one device.
    BlockDevice(u64),
}

impl Content {
    pub(super) fn of(stat: &Stat) -> Option<Self> {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Some(Self::Regular(file_id(stat))),
            FileType::BlockDevice => Some(Self::BlockDevice(stat.st_rdev)),
            _ => None,
        }
    }

    pub(super) fn of_path(path: &Path) -> Option<Self> {
        Self::of(&stat(path).ok()?)
    }

    pub(super) fn of_open(file: impl AsFd) -> Option<Self> {
        Self::of(&fstat(file).ok()?)
    }
}

fn file_id(stat: &Stat) -> FileId {
    FileId {
        device: (major(stat.st_dev), minor(stat.st_dev)),
        inode: stat.st_ino,
    }
}

/// A standard stream that can be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standard {
    Output,
    Error,
}

impl Standard {
    /// The stream that a path stands for. It is not opened again, which would empty a file that the stream
    /// is redirected to.
    pub(super) fn named(path: &Path) -> Option<Self> {
        match path.as_os_str().as_bytes() {
            b"-" | b"/dev/stdout" | b"/dev/fd/1" | b"/proc/self/fd/1" => Some(Self::Output),
            b"/dev/stderr" | b"/dev/fd/2" | b"/proc/self/fd/2" => Some(Self::Error),
            _ => None,
        }
    }
}

/// Where an output leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    Standard(Standard, Option<Content>),
    Existing(Option<Content>),
    /// A file that does not exist yet: its directory and name.
    New(FileId, OsString),
}

impl Place {
    pub(super) fn content(&self) -> Option<Content> {
        match *self {
            Self::Standard(_, content) | Self::Existing(content) => content,
            Self::New(..) => None,
        }
    }

    pub(super) fn is_regular(&self) -> bool {
        matches!(self.content(), Some(Content::Regular(_)))
    }

    /// True if writing to one overwrites what is written to the other.
    pub(super) fn clashes_with(&self, other: &Self) -> bool {
        match (self, other) {
            // If both are redirected to one file, they share its offset.
            (Self::Standard(..), Self::Standard(..)) => false,
            (Self::New(..), _) | (_, Self::New(..)) => self == other,
            _ => self.content().is_some() && self.content() == other.content(),
        }
    }
}

/// Where a path leads. For a regular or new file, the returned path is not a symbolic link.
pub(super) fn locate(path: &Path) -> io::Result<(Place, PathBuf)> {
    match stat(path) {
        Ok(stat) => {
            let content = Content::of(&stat);
            let path = match content {
                Some(Content::Regular(_)) => fs::canonicalize(path)?,
                _ => path.to_owned(),
            };
            Ok((Place::Existing(content), path))
        }
        Err(Errno::NOENT) => locate_new(path),
        Err(errno) => Err(errno.into()),
    }
}

/// Where opening this path for writing would create a file, after following symbolic links.
fn locate_new(path: &Path) -> io::Result<(Place, PathBuf)> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let Ok(target) = fs::read_link(&path) else {
            break;
        };
        path = parent_of(&path).join(target);
    }
    if path.as_os_str().as_bytes().ends_with(b"/") {
        return Err(Errno::ISDIR.into());
    }
    let Some(name) = path.file_name() else {
        return Err(Errno::NOENT.into());
    };
    let directory = file_id(&stat(parent_of(&path))?);
    Ok((Place::New(directory, name.to_owned()), path))
}

/// The directory of a file.
pub(super) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        None => Path::new("/"),
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_new_file_is_known_by_its_directory_and_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("d")).unwrap();
        symlink("d", path("link-to-directory")).unwrap();
        symlink("d/new", path("link-to-file")).unwrap();
        symlink("link-to-file", path("link-to-link")).unwrap();
        let expected = locate(&path("d/new")).unwrap();
        assert!(matches!(expected.0, Place::New(..)));
        for name in ["link-to-directory/new", "link-to-file", "link-to-link"] {
            let (place, _) = locate(&path(name)).unwrap();
            assert!(place.clashes_with(&expected.0), "{name}");
        }
        let (other, _) = locate(&path("new")).unwrap();
        assert!(!other.clashes_with(&expected.0));
        fs::write(path("d/new"), "").unwrap();
        let (existing, found_at) = locate(&path("link-to-link")).unwrap();
        assert_eq!(found_at, fs::canonicalize(path("d/new")).unwrap());
        assert!(existing.clashes_with(&locate(&path("d/new")).unwrap().0));
    }

    #[test]
    fn paths_that_no_file_can_be_made_at() {
        let directory = tempfile::tempdir().unwrap();
        symlink("loop", directory.path().join("loop")).unwrap();
        for (name, errno) in [
            ("missing/new", Errno::NOENT),
            ("new/", Errno::ISDIR),
            ("missing/..", Errno::NOENT),
            ("loop", Errno::LOOP),
        ] {
            let error = locate(&directory.path().join(name)).unwrap_err();
            let expected = Some(errno.raw_os_error());
            assert_eq!(error.raw_os_error(), expected, "{name}");
        }
        assert!(locate(Path::new("")).is_err());
    }
}
