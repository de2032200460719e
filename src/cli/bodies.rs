//! Writes the bodies of responses to files.

use super::setup_error::SetupError;
use crate::jobs::http::{Body, create_body_file};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tempfile::TempPath;

/// Descriptors for bodies: of a long one that arrives, and of the one whose row is printed.
pub(super) const DESCRIPTORS: usize = 2;

/// The permissions of files, without those in the umask.
pub(super) const MODE: u32 = 0o666;

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
    pub(super) fn write(&self, index: u64, body: Body) -> Result<(), String> {
        let path = self.dir.join(index.to_string());
        let written = self.complete(body).and_then(|complete| {
            let kept = complete.persist_noclobber(&path);
            Ok(kept?)
        });
        written.map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::AlreadyExists => " (files that exist are not replaced)",
                _ => "",
            };
            format!("{}: {error}{hint}", path.display())
        })
    }

    /// The body in a file with another name.
    fn complete(&self, body: Body) -> io::Result<TempPath> {
        let body = match body {
            Body::File(file) => return Ok(file.into_path()),
            Body::Memory(bytes) => bytes,
        };
        let mut file = create_body_file(&self.dir, MODE)?;
        file.write_all(&body)?;
        Ok(file.into_temp_path())
    }
}
