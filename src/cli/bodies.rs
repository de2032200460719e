//! Writes the bodies of responses to files.

use super::setup_error::SetupError;
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::Builder;

/// Descriptors that are open while a body is written.
pub(super) const DESCRIPTORS: usize = 1;

/// A directory for bodies.
pub(super) struct Bodies {
    dir: PathBuf,
}

/// Creates a directory for bodies, if it does not exist.
pub(super) fn create(dir: &Path) -> Result<(), SetupError> {
    let created = fs::create_dir_all(dir);
    created.map_err(|error| SetupError::io(&dir.display().to_string(), "create", &error))
}

impl Bodies {
    /// Bodies in this directory, which may not exist yet.
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.into() }
    }

    /// Writes the body of the item with this index. The file has its name only once it is complete, and replaces no
    /// other.
    pub(super) fn write(&self, index: u64, body: &[u8]) -> Result<(), String> {
        let path = self.dir.join(index.to_string());
        let written = self.try_write(&path, body);
        written.map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::AlreadyExists => " (files that exist are not replaced)",
                _ => "",
            };
            format!("{}: {error}{hint}", path.display())
        })
    }

    fn try_write(&self, path: &Path, body: &[u8]) -> io::Result<()> {
        let mut builder = Builder::new();
        builder
            .prefix(".ringmill-")
            .permissions(Permissions::from_mode(0o666));
        let mut file = builder.tempfile_in(&self.dir)?;
        file.write_all(body)?;
        file.persist_noclobber(path)?;
        Ok(())
    }
}
