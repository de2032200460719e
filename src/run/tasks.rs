//! The tasks of items: one future for each item in flight, in slots that are reused.

use crate::error::ItemError;
use crate::io::Io;
use crate::item::Item;
use crate::jobs::Job;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// The result of an item.
pub(super) type ItemResult<V> = Result<V, ItemError>;

/// The tasks of one loop or worker, by slot. The trait hides the type of the job's futures.
pub trait Tasks<V> {
    /// Makes the task of an item. It does nothing until it is polled.
    fn start(&mut self, slot: usize, item: Item);

    /// Polls the task in the slot; gives the item's result when it has ended.
    fn poll(&mut self, slot: usize, context: &mut Context<'_>) -> Poll<ItemResult<V>>;

    /// Drops the task in the slot, if there is one.
    fn clear(&mut self, slot: usize);

    /// True for results that are failures.
    fn is_failure(&self, result: &ItemResult<V>) -> bool;

    /// Bytes that a result owns outside its own struct.
    fn bytes_held(&self, result: &ItemResult<V>) -> usize;
}

/// The tasks of a job, with the state that its items share in this loop or worker.
#[must_use]
pub fn tasks_of<J: Job>(job: &J, io: &Io) -> Box<dyn Tasks<J::Value>> {
    let (local, io) = (Rc::new(job.local(io)), io.clone());
    let task = move |item| J::run(Rc::clone(&local), io.clone(), item);
    Box::new(Slots {
        task,
        is_failure: J::is_failure,
        bytes_held: J::bytes_held,
        futures: Vec::new(),
    })
}

struct Slots<V, F, M> {
    task: M,
    is_failure: fn(&V) -> bool,
    bytes_held: fn(&V) -> usize,
    /// One allocation per slot, reused for all items of the slot.
    futures: Vec<Pin<Box<Option<F>>>>,
}

impl<V, F, M> Tasks<V> for Slots<V, F, M>
where
    F: Future<Output = ItemResult<V>>,
    M: Fn(Item) -> F,
{
    fn start(&mut self, slot: usize, item: Item) {
        while self.futures.len() <= slot {
            self.futures.push(Box::pin(None));
        }
        self.futures[slot].set(Some((self.task)(item)));
    }

    fn poll(&mut self, slot: usize, context: &mut Context<'_>) -> Poll<ItemResult<V>> {
        let future = self.futures[slot].as_mut();
        let future = future.as_pin_mut().expect("the slot has a task");
        let poll = future.poll(context);
        if poll.is_ready() {
            self.clear(slot);
        }
        poll
    }

    fn clear(&mut self, slot: usize) {
        if let Some(future) = self.futures.get_mut(slot) {
            future.set(None);
        }
    }

    fn is_failure(&self, result: &ItemResult<V>) -> bool {
        result.as_ref().map_or(true, self.is_failure)
    }

    fn bytes_held(&self, result: &ItemResult<V>) -> usize {
        result.as_ref().map_or(0, self.bytes_held)
    }
}
