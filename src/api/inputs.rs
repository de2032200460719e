//! Any iterator as the source of a run.

use crate::item::Batch;
use crate::source::{InputError, Source};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Inputs of an iterator, each as the bytes of an item. It is handed on at once, for the next may be long
/// in coming; the feed makes batches of those that come quickly.
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

/// The inputs of a run that are not bytes, by their places in the input, from when they are there until
/// their rows are taken.
#[derive(Debug)]
pub(super) struct Held<T>(Mutex<State<T>>);

#[derive(Debug)]
struct State<T> {
    /// The place in the input of the first that is held.
    first: u64,
    /// Those that were taken before others in front of them are gone.
    inputs: VecDeque<Option<T>>,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self(Mutex::new(State {
            first: 0,
            inputs: VecDeque::new(),
        }))
    }
}

impl<T> Held<T> {
    /// Adds the next input.
    pub(super) fn add(&self, input: T) {
        self.lock().inputs.push_back(Some(input));
    }

    /// Takes the input at this place, which was added and not been taken.
    pub(super) fn take(&self, index: u64) -> T {
        let state = &mut *self.lock();
        let input = state.at(index).take();
        while let Some(None) = state.inputs.front() {
            state.inputs.pop_front();
            state.first += 1;
        }
        input.expect("it is taken once")
    }

    /// An input is whole between any two calls, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> Held<T> {
    /// A copy of the input at this place.
    pub(super) fn get(&self, index: u64) -> T {
        let input = self.lock().at(index).clone();
        input.expect("it is held until it is taken")
    }
}

impl<T> State<T> {
    fn at(&mut self, index: u64) -> &mut Option<T> {
        let at = usize::try_from(index - self.first).expect("fewer are held than memory holds");
        &mut self.inputs[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl<T> State<T> {
        /// The first that is held, and how many are from there on.
        fn place(&self) -> (u64, usize) {
            (self.first, self.inputs.len())
        }
    }

    #[test]
    fn inputs_are_held_until_they_are_taken_in_any_order() {
        let held = Held::default();
        ["a", "b", "c", "d"]
            .iter()
            .for_each(|input| held.add(*input));
        assert_eq!((held.get(1), held.take(1), held.take(0)), ("b", "b", "a"));
        assert_eq!(held.lock().place(), (2, 2));
        held.add("e");
        assert_eq!((held.take(4), held.take(2), held.get(3)), ("e", "c", "d"));
        assert_eq!(held.take(3), "d");
        assert_eq!(held.lock().place(), (5, 0));
    }
}
