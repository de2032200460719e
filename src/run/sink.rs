//! Where the results of a run go.

use crate::mill::{Counters, Finished};
use std::io;
use std::time::Duration;

/// Takes results in order.
pub trait Sink<V> {
    /// Takes the next result.
    ///
    /// # Errors
    /// If it cannot be written. The run then ends.
    fn result(&mut self, finished: Finished<V>) -> io::Result<()>;

    /// Takes a part of the result of the item with this index. The parts of an item come one after
    /// the other, and then its result, unless the run ends earlier.
    ///
    /// # Errors
    /// If it cannot be written, or if the sink takes no parts. The run then ends.
    fn part(&mut self, _index: u64, _bytes: &[u8]) -> io::Result<()> {
        let message = "the job gives results in parts, and the output takes none";
        Err(io::Error::new(io::ErrorKind::Unsupported, message))
    }

    /// Writes out what the sink has buffered, because nothing more is ready.
    ///
    /// # Errors
    /// If it cannot be written. The run then ends.
    fn flush(&mut self) -> io::Result<()>;

    /// Called after results were taken, and when nothing has happened for a [`Sink::tick_interval`].
    fn tick(&mut self, _counters: Counters) {}

    /// How often to call [`Sink::tick`] while nothing happens. With `None`, it is not called then, and a run
    /// that waits does not wake up.
    fn tick_interval(&self) -> Option<Duration> {
        None
    }
}
