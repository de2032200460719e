//! A file or a standard stream that a command writes to.

use super::place::{Content, Place, Standard, locate, parent_of};
use super::replace::replace;
use crate::cli::closed::stdout_was_closed;
use crate::cli::setup_error::SetupError;
use crate::cli::signals::Signals;
use crate::io::FileId;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// An output of a command. It is first created, then [opened](super::open), and written at last.
pub(in crate::cli) struct Output {
    /// The file name, or `standard output`, for messages.
    pub(in crate::cli) name: String,
    /// The option and its value; the name if there is no option.
    pub(super) label: String,
    /// The option and its value; a description of the content if there is no option.
    pub(super) what: String,
    /// `None` stands for standard output.
    path: Option<PathBuf>,
    form: Form,
    /// Where the path leads, once it has been located.
    pub(super) place: Option<Place>,
    /// The open file; `None` for a document that replaces a regular file.
    file: Option<File>,
    /// A file that opening has created. It is removed if the run does not start after all.
    created: Option<PathBuf>,
}

enum Form {
    /// Written in pieces.
    Stream,
    /// Written as a whole at the end.
    Document(Signals),
}

impl Output {
    /// An output for rows, or for a log that others read while it grows. Without a path it is standard
    /// output, and messages call it `what`.
    pub(in crate::cli) fn stream(option: &str, path: Option<&Path>, what: &str) -> Self {
        Self::new(option, path, what, Form::Stream)
    }

    /// A document, which replaces a regular file only when it is complete.
    pub(in crate::cli) fn document(
        option: &str,
        path: Option<&Path>,
        what: &str,
        signals: &Signals,
    ) -> Self {
        Self::new(option, path, what, Form::Document(signals.clone()))
    }

    fn new(option: &str, path: Option<&Path>, what: &str, form: Form) -> Self {
        let name = match path {
            Some(path) if path != "-" => path.display().to_string(),
            _ => "standard output".to_owned(),
        };
        let label = path.map(|path| format!("{option} {}", path.display()));
        Self {
            what: label.clone().unwrap_or_else(|| what.to_owned()),
            label: label.unwrap_or_else(|| name.clone()),
            name,
            path: path.map(Path::to_owned),
            form,
            place: None,
            file: None,
            created: None,
        }
    }

    /// The standard stream that the path stands for, if any.
    pub(super) fn standard(&self) -> Option<Standard> {
        match &self.path {
            None => Some(Standard::Output),
            Some(path) => Standard::named(path),
        }
    }

    /// True if opening it may block on another process or affect one, as for a FIFO.
    pub(super) fn may_wait(&self) -> bool {
        matches!(self.place, Some(Place::Existing(None)))
    }

    /// The id of the output, if it is a regular file.
    pub(super) fn file_id(&self) -> Option<FileId> {
        match self.place.as_ref()?.content()? {
            Content::Regular(id) => Some(id),
            Content::BlockDevice(_) => None,
        }
    }

    /// Looks up where the path leads.
    pub(super) fn locate(&mut self) -> Result<(), SetupError> {
        if let Some(standard) = self.standard() {
            let content = match standard {
                Standard::Output => Content::of_open(io::stdout()),
                Standard::Error => Content::of_open(io::stderr()),
            };
            self.place = Some(Place::Standard(standard, content));
            return Ok(());
        }
        let path = self.path.take().expect("it is no standard stream");
        let (place, path) = locate(&path).map_err(|error| self.cannot_open(&error))?;
        self.place = Some(place);
        self.path = Some(path);
        Ok(())
    }

    /// Checks that it can be written, without changing its content. True if the path now leads to another
    /// file than when it was located.
    pub(super) fn open(&mut self) -> Result<bool, SetupError> {
        self.try_open().map_err(|error| self.cannot_open(&error))
    }

    fn try_open(&mut self) -> io::Result<bool> {
        let place = self.place.as_ref().expect("it has been located");
        let is_document = matches!(self.form, Form::Document(_));
        let path = match (place, &self.path) {
            (Place::Standard(standard, _), _) => {
                self.file = Some(duplicate(*standard)?);
                return Ok(false);
            }
            (_, path) => path.as_ref().expect("it is no standard stream"),
        };
        if let Place::New(..) = place {
            if is_document {
                let access = Access::WRITE_OK | Access::EXEC_OK;
                accessat(CWD, parent_of(path), access, AtFlags::EACCESS)?;
                return Ok(false);
            }
            match File::options().write(true).create_new(true).open(path) {
                Ok(file) => {
                    self.created = Some(path.clone());
                    self.place = Some(Place::Existing(Content::of_open(&file)));
                    self.file = Some(file);
                    return Ok(false);
                }
                // Such a file has been created in the meantime.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        let file = File::options().write(true).open(path)?;
        let opened = Place::Existing(Content::of_open(&file));
        let is_elsewhere = self.place.as_ref() != Some(&opened);
        if !is_document || !opened.is_regular() {
            self.file = Some(file);
        }
        self.place = Some(opened);
        Ok(is_elsewhere)
    }

    /// Empties a regular file that is written in pieces. From now on a created file is kept, whatever the
    /// result of the run.
    pub(in crate::cli) fn begin(&mut self) -> Result<(), SetupError> {
        if let (Some(file), Some(place @ Place::Existing(_))) = (&self.file, &self.place)
            && place.is_regular()
        {
            file.set_len(0)
                .map_err(|error| SetupError::io(&self.name, "empty", &error))?;
        }
        self.created = None;
        Ok(())
    }

    /// Writes the whole content.
    pub(in crate::cli) fn put(&mut self, content: &[u8]) -> Result<(), SetupError> {
        let written = match (&mut self.file, &self.form, &self.path) {
            (Some(file), ..) => file.write_all(content),
            (None, Form::Document(signals), Some(path)) => signals.defer(|| replace(path, content)),
            _ => unreachable!("a stream and a standard stream are open"),
        };
        match written {
            // The reader has closed the pipe, which is not an error.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(self.cannot_write(&error)),
            _ => Ok(()),
        }
    }

    fn cannot_open(&self, error: &io::Error) -> SetupError {
        SetupError::io(&self.name, "open for writing", error)
    }

    pub(in crate::cli) fn cannot_write(&self, error: &io::Error) -> SetupError {
        SetupError::io(&self.name, "write", error)
    }
}

/// A file for the stream, because `io::stdout` would flush after each line.
fn duplicate(standard: Standard) -> io::Result<File> {
    let descriptor = match standard {
        Standard::Output if stdout_was_closed() => {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        Standard::Output => io::stdout().as_fd().try_clone_to_owned(),
        Standard::Error => io::stderr().as_fd().try_clone_to_owned(),
    };
    descriptor.map(File::from)
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let file = self.file.as_mut().expect("it is open");
        file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(path) = self.created.take() {
            let _ = fs::remove_file(path);
        }
    }
}
