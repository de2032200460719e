//! Items from lists: files, FIFOs and standard input, one after another.

use super::{InputError, Separator, Source, Splitter};
use crate::item::Batch;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The most bytes of a list read at once. A read returns what is available, so a slow producer's line is
/// not held back until this much has arrived.
const CHUNK_LEN: usize = 64 * 1024;

/// The names in one or more lists, in order.
pub struct Lists {
    separator: Separator,
    remaining: std::vec::IntoIter<PathBuf>,
    current: Option<List>,
    chunk: Vec<u8>,
    bytes_read: Arc<AtomicU64>,
}

struct List {
    name: String,
    reader: Box<dyn Read + Send>,
    splitter: Splitter,
}

impl Lists {
    /// A source that reads the given lists in turn; the path `-` is standard input.
    #[must_use]
    pub fn new(paths: Vec<PathBuf>, separator: Separator) -> Self {
        Self {
            separator,
            remaining: paths.into_iter(),
            current: None,
            chunk: vec![0; CHUNK_LEN],
            bytes_read: Arc::default(),
        }
    }

    /// A counter of the bytes read from all lists so far.
    #[must_use]
    pub fn bytes_read(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.bytes_read)
    }

    fn open(&self, path: PathBuf) -> Result<List, InputError> {
        let (name, reader): (String, Box<dyn Read + Send>) = if path.as_os_str() == "-" {
            ("standard input".to_owned(), Box::new(std::io::stdin()))
        } else {
            let name = path.display().to_string();
            let file = File::open(&path).map_err(|e| input_error(&name, "open", &e))?;
            (name, Box::new(file))
        };
        Ok(List {
            name,
            reader,
            splitter: Splitter::new(self.separator),
        })
    }
}

impl Source for Lists {
    fn next_batch(&mut self) -> Result<Option<Batch>, InputError> {
        loop {
            let Some(list) = &mut self.current else {
                match self.remaining.next() {
                    Some(path) => self.current = Some(self.open(path)?),
                    None => return Ok(None),
                }
                continue;
            };
            let batch = match list.reader.read(&mut self.chunk) {
                Ok(0) => {
                    let last = list.splitter.finish();
                    self.current = None;
                    last.unwrap_or_default()
                }
                Ok(count) => {
                    self.bytes_read.fetch_add(count as u64, Ordering::Relaxed);
                    list.splitter.split(&self.chunk[..count])
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => {
                    let error = input_error(&list.name, "read", &e);
                    self.current = None;
                    self.remaining = Vec::new().into_iter();
                    return Err(error);
                }
            };
            if !batch.is_empty() {
                return Ok(Some(batch));
            }
        }
    }
}

fn input_error(name: &str, operation: &'static str, error: &std::io::Error) -> InputError {
    let message = match error.raw_os_error() {
        Some(errno) => crate::error::Errno::new(errno).to_string(),
        None => error.to_string(),
    };
    InputError {
        name: name.to_owned(),
        operation,
        message,
    }
}
