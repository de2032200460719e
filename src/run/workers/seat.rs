//! What others see of a thread that runs an item.

use super::lock;
use super::outbox::TaskId;
use crate::io::CurrentOperation;
use crate::run::tasks::ItemResult;
use std::sync::{Arc, Mutex};

/// A thread's current item.
pub(super) struct Seat<V> {
    pub(super) current: Arc<CurrentOperation>,
    /// The result of an item, while the files that it has left open are closed. That may take for ever.
    closing: Mutex<Option<(TaskId, ItemResult<V>)>>,
}

impl<V> Seat<V> {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            current: Arc::default(),
            closing: Mutex::new(None),
        })
    }

    /// Closes what is left of an item that has this result. `None` if the result was taken meanwhile.
    pub(super) fn close(
        &self,
        id: TaskId,
        result: ItemResult<V>,
        close: impl FnOnce(),
    ) -> Option<ItemResult<V>> {
        *lock(&self.closing) = Some((id, result));
        close();
        self.take(id)
    }

    /// Takes the result of an item, if it is there already.
    pub(super) fn take(&self, id: TaskId) -> Option<ItemResult<V>> {
        let mut closing = lock(&self.closing);
        let (_, result) = closing.take_if(|(own, _)| *own == id)?;
        Some(result)
    }
}
