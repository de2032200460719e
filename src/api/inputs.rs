//! Makes any iterator the source of a run.

use crate::item::Batch;
use crate::lock::lock;
use crate::source::{InputError, Source};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

/// The inputs of an iterator, each converted to the bytes of an item. Each input is passed on at once,
/// because the next may arrive much later; the feed batches inputs that arrive quickly.
pub(super) struct Inputs<I, F> {
    inputs: I,
    to_bytes: F,
}

impl<I, F> Inputs<I, F> {
    pub(super) fn new(inputs: I, to_bytes: F) -> Self {
        Self { inputs, to_bytes }
    }
}

impl<I, F, B> Source for Inputs<I, F>
where
    I: Iterator + Send + 'static,
    F: FnMut(I::Item) -> B + Send + 'static,
    B: AsRef<[u8]>,
{
    fn next_batch(&mut self) -> Result<Option<Batch>, InputError> {
        let next = self.inputs.next();
        Ok(next.map(|input| Batch::from_iter([(self.to_bytes)(input)])))
    }
}

/// The inputs of a custom job, by index, from their pull until their results become rows. An item holds
/// only bytes, so the inputs are kept here.
#[derive(Debug)]
pub(super) struct PendingInputs<T>(Mutex<State<T>>);

#[derive(Debug)]
struct State<T> {
    /// The index of the first input in `inputs`.
    first_index: u64,
    /// `None` for inputs that were taken before an earlier one was.
    inputs: VecDeque<Option<T>>,
}

impl<T> Default for PendingInputs<T> {
    fn default() -> Self {
        Self(Mutex::new(State {
            first_index: 0,
            inputs: VecDeque::new(),
        }))
    }
}

impl<T> PendingInputs<T> {
    /// Adds the next input.
    pub(super) fn add(&self, input: T) {
        self.lock().inputs.push_back(Some(input));
    }

    /// Takes the input with this index.
    ///
    /// # Panics
    /// If it was not added, or was taken before.
    pub(super) fn take(&self, index: u64) -> T {
        let state = &mut *self.lock();
        let input = state.at(index).take();
        while let Some(None) = state.inputs.front() {
            state.inputs.pop_front();
            state.first_index += 1;
        }
        input.expect("an input is taken once")
    }

    /// Ignores poisoning: the state is consistent between any two calls.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        lock(&self.0)
    }
}

impl<T: Clone> PendingInputs<T> {
    /// A copy of the input with this index.
    ///
    /// # Panics
    /// If it was not added, or was taken before.
    pub(super) fn get(&self, index: u64) -> T {
        let input = self.lock().at(index).clone();
        input.expect("an input is present until it is taken")
    }
}

impl<T> State<T> {
    fn at(&mut self, index: u64) -> &mut Option<T> {
        let at = usize::try_from(index - self.first_index).expect("the place is in the queue");
        &mut self.inputs[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl<T> State<T> {
        /// The index of the first place, and the number of places.
        fn places(&self) -> (u64, usize) {
            (self.first_index, self.inputs.len())
        }
    }

    #[test]
    fn inputs_are_kept_until_they_are_taken_in_any_order() {
        let pending = PendingInputs::default();
        ["a", "b", "c", "d"]
            .iter()
            .for_each(|input| pending.add(*input));
        assert_eq!(
            (pending.get(1), pending.take(1), pending.take(0)),
            ("b", "b", "a")
        );
        assert_eq!(pending.lock().places(), (2, 2));
        pending.add("e");
        assert_eq!(
            (pending.take(4), pending.take(2), pending.get(3)),
            ("e", "c", "d")
        );
        assert_eq!(pending.take(3), "d");
        assert_eq!(pending.lock().places(), (5, 0));
    }
}
