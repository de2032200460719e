//! The queue between the source and the loops.

use crate::item::{Batch, BatchSlice};
use crate::source::InputError;
use std::collections::VecDeque;
use std::sync::Arc;

/// Batches that wait here at most: with this many, the source has to wait.
const BATCHES_MAX: usize = 4;

/// The last batch, if no loop has pulled from it, takes further items up to this number. So a source that
/// gives items one by one does not have to wait for the loops, and each item can be pulled at once.
const MERGED_ITEMS_MAX: usize = 256;

/// Batches read from the source, not yet pulled, and how the source ended.
#[derive(Debug, Default)]
pub struct Feed {
    batches: VecDeque<Arc<Batch>>,
    /// Items of the first batch already pulled.
    position: u32,
    /// The index of the next item to be added.
    next_index: u64,
    end: Option<Result<(), InputError>>,
}

impl Feed {
    /// True if the source may add another batch.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.batches.len() < BATCHES_MAX
    }

    /// Adds items after all earlier ones.
    pub fn add(&mut self, mut batch: Batch) {
        assert!(self.end.is_none(), "items after the end of the input");
        if batch.is_empty() {
            return;
        }
        batch.set_first_index(self.next_index);
        self.next_index += batch.len() as u64;
        match self.batches.back_mut().and_then(Arc::get_mut) {
            Some(last) if last.len() + batch.len() <= MERGED_ITEMS_MAX => last.append(&batch),
            _ => self.batches.push_back(Arc::new(batch)),
        }
    }

    /// Records that no more items will come, with the error of the input if it failed.
    pub fn end(&mut self, end: Result<(), InputError>) {
        self.end = Some(end);
    }

    /// True if no item is left and none will come.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.batches.is_empty() && self.end.is_some()
    }

    /// True if an item could be pulled now.
    #[must_use]
    pub fn has_items(&self) -> bool {
        !self.batches.is_empty()
    }

    /// Items that could be pulled now.
    #[must_use]
    pub fn items(&self) -> usize {
        let items: usize = self.batches.iter().map(|batch| batch.len()).sum();
        items - self.position as usize
    }

    /// The error of the input itself; only the first call returns it.
    pub fn take_error(&mut self) -> Option<InputError> {
        match self.end.take() {
            Some(Err(error)) => {
                self.end = Some(Ok(()));
                Some(error)
            }
            end => {
                self.end = end;
                None
            }
        }
    }

    /// Adds up to `max` items to the end of `into`; returns how many.
    pub fn pull(&mut self, max: usize, into: &mut Vec<BatchSlice>) -> usize {
        let mut pulled = 0;
        while pulled < max {
            let Some(batch) = self.batches.front() else {
                break;
            };
            let left = batch.len() - self.position as usize;
            let count = left.min(max - pulled);
            // A batch's length fits u32 because its offsets do.
            #[allow(clippy::cast_possible_truncation)]
            let end = self.position + count as u32;
            into.push(BatchSlice::new(Arc::clone(batch), self.position..end));
            pulled += count;
            self.position = end;
            if count == left {
                self.batches.pop_front();
                self.position = 0;
            }
        }
        pulled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Item;

    #[test]
    fn items_leave_in_order_across_batches() {
        let mut feed = Feed::default();
        feed.add(Batch::from_iter(["a", "b", "c"]));
        feed.add(Batch::default());
        feed.add(Batch::from_iter(["d"]));
        let mut slices = Vec::new();
        assert_eq!(feed.pull(2, &mut slices), 2);
        assert_eq!(feed.pull(5, &mut slices), 2);
        let items: Vec<Item> = slices.iter().flat_map(BatchSlice::items).collect();
        let seen: Vec<(u64, &[u8])> = items.iter().map(|i| (i.index(), i.bytes())).collect();
        assert_eq!(seen, [(0, &b"a"[..]), (1, b"b"), (2, b"c"), (3, b"d")]);
        assert!(!feed.is_exhausted());
        feed.end(Ok(()));
        assert!(feed.is_exhausted());
    }

    #[test]
    fn batches_of_one_item_become_larger_ones() {
        let mut feed = Feed::default();
        let (mut added, mut slices) = (0, Vec::new());
        while feed.has_room() {
            feed.add(Batch::from_iter([added.to_string()]));
            added += 1;
            // Once a loop has pulled from a batch, that batch takes no more items.
            feed.pull(usize::from(added == 5), &mut slices);
        }
        // The batch that was pulled from, and the last, did not grow.
        assert_eq!(added, 5 + (BATCHES_MAX - 2) * MERGED_ITEMS_MAX + 1);
        feed.pull(usize::MAX, &mut slices);
        let items: Vec<Item> = slices.iter().flat_map(BatchSlice::items).collect();
        assert_eq!(items.len(), added);
        for (number, item) in items.iter().enumerate() {
            assert_eq!(item.index(), number as u64);
            assert_eq!(item.bytes(), number.to_string().as_bytes());
        }
    }

    #[test]
    fn an_input_error_is_given_once() {
        let mut feed = Feed::default();
        let error = InputError {
            name: "l".into(),
            operation: "read",
            message: "m".into(),
        };
        feed.end(Err(error));
        assert!(feed.take_error().is_some());
        assert!(feed.take_error().is_none());
        assert!(feed.is_exhausted());
    }
}
