//! Jobs define what is done with an item. Each is an async function over the operations of [`Io`], so it
//! runs unchanged on every carrier, and on workers where a file system blocks.

#[cfg(feature = "dns")]
pub mod connect;
#[cfg(feature = "dns")]
pub mod dns;
pub mod hash;
#[cfg(feature = "http")]
pub mod http;
pub mod rendered;
#[cfg(feature = "dns")]
mod shared_facts;

use crate::error::ItemError;
use crate::io::Io;
use crate::item::Item;
use crate::stats::Phase;
use std::rc::Rc;

/// What is done with each item.
pub trait Job: Send + Sync + 'static {
    /// The result of a successful item.
    type Value: Send + 'static;
    /// The state that the items of one loop share: options, a resolver, a pool of connections.
    type Local: 'static;

    /// The phases of its items, in the order in which an item passes through them; phases measured from a
    /// schedule come last.
    const PHASES: &'static [Phase] = Phase::COMMON;

    /// True if loops mostly wait for short replies: a wait that lasts a little longer returns more of
    /// them at once.
    const WAITS_FOR_REPLIES: bool = false;

    /// Creates the state that the items of a loop share. It may spawn tasks on the loop.
    fn local(&self, io: &Io) -> Self::Local;

    /// Runs one item and returns its result.
    ///
    /// The future may be dropped at any await. Until it has read anything that cannot be read again, it
    /// may also be restarted on a worker, which has its own `Io` and `Local`. Parts of the result that it
    /// has [written](Io::write) are then withdrawn; if some were already output, an operation that needs
    /// a worker fails instead.
    fn run(
        local: Rc<Self::Local>,
        io: Io,
        item: Item,
    ) -> impl Future<Output = Result<Self::Value, ItemError>> + 'static;

    /// True for values that represent a failure.
    fn is_failure(_: &Self::Value) -> bool {
        false
    }

    /// Bytes that a value owns besides its own size (on the heap): they count against
    /// [`Plan::window_bytes`](crate::run::Plan::window_bytes) while it waits.
    fn bytes_held(_: &Self::Value) -> usize {
        0
    }
}
