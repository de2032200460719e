//! Where results are written.

use super::closed::stdout_was_closed;
use super::setup_error::SetupError;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;

/// A file or standard output, and its name for messages.
pub(super) struct Output {
    pub(super) name: String,
    file: File,
}

impl Output {
    /// Empties the file; standard output if there is none.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, SetupError> {
        let (name, file) = match path {
            Some(path) => (path.display().to_string(), File::create(path)),
            None if stdout_was_closed() => {
                let closed = io::Error::from_raw_os_error(libc::EBADF);
                ("standard output".to_owned(), Err(closed))
            }
            // Not `io::stdout`, which would write line by line.
            None => {
                let stdout = io::stdout().as_fd().try_clone_to_owned();
                ("standard output".to_owned(), stdout.map(File::from))
            }
        };
        match file {
            Ok(file) => Ok(Self { name, file }),
            Err(error) => Err(SetupError::io(&name, "open for writing", &error)),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
