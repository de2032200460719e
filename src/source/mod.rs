//! Where items come from: bytes in, batches of items out.

mod arguments;
mod expanded;
mod lists;
mod repeated;
mod splitter;

pub use arguments::Arguments;
pub use expanded::{Expand, Expanded, Items};
pub use lists::Lists;
pub use repeated::Repeated;
pub use splitter::{Separator, Splitter};

use crate::item::Batch;

/// A stream of items of any length.
///
/// A source runs on its own thread and may block. Its next batch is requested only when there is room for
/// it.
pub trait Source: Send + 'static {
    /// The next items, as soon as there is at least one; `None` at the end.
    ///
    /// # Errors
    /// An error of the input itself ends the stream. It is reported after all earlier items.
    fn next_batch(&mut self) -> Result<Option<Batch>, InputError>;
}

/// The input could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{name}: cannot {operation}: {message}")]
pub struct InputError {
    /// The list's name.
    pub name: String,
    /// `open` or `read`.
    pub operation: &'static str,
    /// The cause, in words.
    pub message: String,
}
