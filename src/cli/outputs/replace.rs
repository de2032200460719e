//! Files that have all of their new content or, if something goes wrong, their old one.

use super::place::parent_of;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::process;

/// Names that are tried for a temporary file. Earlier processes with our id may have left some.
const NAMES_MAX: u32 = 100;

/// Gives the file at this path, which is not a symbolic link, this content. An existing file keeps its
/// permissions, and its owner if we may choose that.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let existing = fs::metadata(path).ok();
    match replace_by_rename(path, existing.as_ref(), content) {
        // The directory takes no other file, or the name belongs to a mount.
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
        // Only root can give a file to another user, and others only to groups of their own.
        let _ = chown(Some(existing.uid())).or_else(|_| chown(None));
        temporary.file.set_permissions(existing.permissions())?;
    }
    fs::rename(&temporary.path, path)?;
    temporary.is_renamed = true;
    Ok(())
}

/// A file that is removed unless it has been given another name.
struct Temporary {
    path: PathBuf,
    file: File,
    is_renamed: bool,
}

impl Temporary {
    /// A new file in the same directory, which nobody may read who may not read the existing one.
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
