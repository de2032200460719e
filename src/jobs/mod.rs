//! Jobs: what is done with an item. Each is an async function over the operations of
//! [`Io`], so it runs unchanged on every carrier, and on workers where a file system
//! blocks.

#[cfg(feature = "dns")]
pub mod dns;
pub mod hash;
pub mod rendered;

use crate::error::ItemError;
use crate::io::Io;
use crate::item::Item;
use crate::stats::Phase;
use std::rc::Rc;

/// What is done with each item.
pub trait Job: Send + Sync + 'static {
    /// What a successful item gives.
    type Value: Send + 'static;
    /// What the items of one loop share: options, a resolver, a pool of connections.
    type Local: 'static;

    /// The phases that its items can have, in the order of an item's life; those measured from a
    /// schedule come last.
    const PHASES: &'static [Phase] = Phase::COMMON;

    /// Its loops mostly wait for short replies, of which there are more if they wait a little longer.
    const WAITS_FOR_REPLIES: bool = false;

    /// Makes what the items of a loop are to share. It may spawn tasks that belong to the loop.
    fn local(&self, io: &Io) -> Self::Local;

    /// The task of one item. It ends with the item's result.
    ///
    /// It may be dropped at any await, and, until it has read anything that cannot be read again, may
    /// be begun anew on a worker, which has an `Io` and a `Local` of its own. Parts of the result that
    /// it has [written](Io::write) are taken back then; if some have left, an operation that belongs on
    /// a worker fails instead.
    fn run(
        local: Rc<Self::Local>,
        io: Io,
        item: Item,
    ) -> impl Future<Output = Result<Self::Value, ItemError>> + 'static;

    /// True for values that tell of a failure.
    fn is_failure(_: &Self::Value) -> bool {
        false
    }

    /// Bytes that a value holds in other places than its own: they count against
    /// [`Plan::window_bytes`](crate::run::Plan::window_bytes) while it waits.
    fn bytes_held(_: &Self::Value) -> usize {
        0
    }
}
