//! A body that is received, and may become too long for memory.

use super::body::Body;
use super::body_files::BodyFile;
use super::failure::{Failure, Step};
use super::options::Options;
use std::cell::Cell;

/// Takes what of a body is too long for memory.
pub(super) struct Overflow<'a> {
    pub(super) options: &'a Options,
    /// True while bytes are written.
    is_writing: &'a Cell<bool>,
    file: Option<BodyFile>,
}

impl<'a> Overflow<'a> {
    pub(super) fn new(options: &'a Options, is_writing: &'a Cell<bool>) -> Self {
        Self {
            options,
            is_writing,
            file: None,
        }
    }

    /// Appends bytes to the file of the body.
    pub(super) async fn write(&mut self, bytes: Vec<u8>) -> Result<(), Failure> {
        let new = || BodyFile::new(&self.options.body_files);
        let mut file = self.file.take().unwrap_or_else(new);
        self.append(&mut file, bytes).await?;
        self.file = Some(file);
        Ok(())
    }

    /// The body, of which these are the last bytes.
    pub(super) async fn finish(mut self, bytes: Vec<u8>) -> Result<Body, Failure> {
        let Some(mut file) = self.file.take() else {
            return Ok(Body::Memory(bytes));
        };
        self.append(&mut file, bytes).await?;
        Ok(Body::File(file))
    }

    async fn append(&self, file: &mut BodyFile, bytes: Vec<u8>) -> Result<(), Failure> {
        self.is_writing.set(true);
        let appended = file.append(bytes).await;
        self.is_writing.set(false);
        appended.map_err(|error| {
            let dir = self.options.body_files.dir().display();
            Failure::new(Step::Write, format_args!("{dir}: {error}"))
        })
    }
}
