//! Replaces the content of a file atomically, if its directory allows that: after an error the file still
//! has its old content.

use super::place::parent_of;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::process;

/// How many names to try for a temporary file. Earlier processes with the same id may have left some.
const NAMES_MAX: u32 = 100;

/// Replaces the content of the file at this path, which must not be a symbolic link. An existing file keeps
/// its permissions, and its owner if this process may set it.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let existing = fs::metadata(path).ok();
    match replace_by_rename(path, existing.as_ref(), content) {
        // No file can be created in the directory, or the path is a mount point: write in place.
        Err(error) if existing.is_some() && is_about_the_directory(&error) => {
            let mut file = File::options().write(true).truncate(true).open(path)?;
            file.write_all(content)
        }
        replaced => replaced,
    }
}

fn is_about_the_directory(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::ResourceBusy
    )
}

fn replace_by_rename(path: &Path, existing: Option<&Metadata>, content: &[u8]) -> io::Result<()> {
    let mut temporary = Temporary::beside(path, existing)?;
    temporary.file.write_all(content)?;
    if let Some(existing) = existing {
        let chown = |user| fchown(&temporary.file, user, Some(existing.gid()));
        // Only root can change the owner. Other users can only set a group they belong to.
        let _ = chown(Some(existing.uid())).or_else(|_| chown(None));
        temporary.file.set_permissions(existing.permissions())?;
    }
    fs::rename(&temporary.path, path)?;
    temporary.is_renamed = true;
    Ok(())
}

/// A temporary file, which is removed unless it has been renamed.
struct Temporary {
    path: PathBuf,
    file: File,
    is_renamed: bool,
}

impl Temporary {
    /// Creates a file in the same directory. It is never readable by users who may not read the existing one.
    fn beside(path: &Path, existing: Option<&Metadata>) -> io::Result<Self> {
        let mode = if existing.is_some() { 0o600 } else { 0o666 };
        let mut options = File::options();
        options.write(true).create_new(true).mode(mode);
        let mut number = 0;
        loop {
            let name = format!(".ringmill-{}-{number}.tmp", process::id());
            let path = parent_of(path).join(name);
            match options.open(&path) {
                Ok(file) => {
                    return Ok(Self {
                        path,
                        file,
                        is_renamed: false,
                    });
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists && number < NAMES_MAX => {
                    number += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.is_renamed {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_temporary_file_of_another_process_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let other = path(&format!(".ringmill-{}-0.tmp", process::id()));
        fs::write(&other, "of another").unwrap();
        for content in ["one", "another"] {
            replace(&path("document"), content.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(path("document")).unwrap(), content);
        }
        assert_eq!(fs::read_to_string(&other).unwrap(), "of another");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_cannot_be_replaced_stays() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("document/not-empty")).unwrap();
        assert!(replace(&directory.path().join("document"), b"content").is_err());
        assert!(directory.path().join("document/not-empty").is_dir());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
