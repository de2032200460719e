//! Items from the command line.

use super::{InputError, Source};
use crate::item::Batch;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// Items given as arguments, in order.
pub struct Arguments(std::vec::IntoIter<OsString>);

/// Small, so that a second loop gets its share of a short list.
const ITEMS_PER_BATCH: usize = 256;

impl Arguments {
    /// A source of the given names.
    #[must_use]
    pub fn new(names: Vec<OsString>) -> Self {
        Self(names.into_iter())
    }
}

impl Source for Arguments {
    fn next_batch(&mut self) -> Result<Option<Batch>, InputError> {
        let names = self.0.by_ref().take(ITEMS_PER_BATCH);
        let batch: Batch = names.map(OsString::into_vec).collect();
        Ok((!batch.is_empty()).then_some(batch))
    }
}
