//! What other threads see of a worker.

use super::outbox::TaskId;
use crate::io::CurrentOperation;
use crate::lock::lock;
use crate::run::tasks::ItemResult;
use std::sync::{Arc, Mutex};

/// A worker's current item, for other threads.
pub(super) struct WorkerStatus<V> {
    pub(super) current: Arc<CurrentOperation>,
    /// The result of an item, while the files that it left open are being closed, which may never end.
    closing: Mutex<Option<(TaskId, ItemResult<V>)>>,
}

impl<V> WorkerStatus<V> {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            current: Arc::default(),
            closing: Mutex::new(None),
        })
    }

    /// Shows the result of an item to other threads while `close` runs. `None` if it was taken meanwhile.
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

    /// Takes the result of an item, if it has one already.
    pub(super) fn take(&self, id: TaskId) -> Option<ItemResult<V>> {
        let mut closing = lock(&self.closing);
        let (_, result) = closing.take_if(|(own, _)| *own == id)?;
        Some(result)
    }
}
