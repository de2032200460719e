//! The window: counts pulled, finished and emitted items, and puts results in order. It does not run
//! futures, so it also suits other executors.

use std::collections::VecDeque;

/// A window of any capacity is [filling up](Window::is_filling_up) when so many results wait.
const FILLING_UP_AT_MAX: u64 = 8192;

/// The order in which results are emitted.
///
/// ```
/// use ringmill_materialize::Order;
///
/// assert_eq!(Order::default(), Order::Input);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// In the order of the items: the k-th result is that of the k-th item.
    #[default]
    Input,
    /// In the order in which items finish.
    Completion,
}

/// Counts items from their pull to their emission, and holds the results that wait for an earlier one.
///
/// At all times pulled − emitted = in flight + waiting ≤ capacity.
///
/// ```
/// use ringmill_materialize::{Order, Window};
///
/// let mut window = Window::new(Order::Input, 3);
/// window.pull(2);
/// window.finish(1, "second");
/// assert_eq!(window.take_one(), None);
/// window.finish(0, "first");
/// assert_eq!(window.take_one(), Some("first"));
/// assert_eq!(window.take_one(), Some("second"));
/// window.mark_emitted(2);
/// assert_eq!(window.room(), 3);
/// ```
#[derive(Debug)]
pub struct Window<T> {
    order: Order,
    capacity: u64,
    pulled: u64,
    finished: u64,
    taken: u64,
    emitted: u64,
    /// In input order: one place for each item from `taken` on, empty until it is finished.
    /// In completion order: the finished items alone.
    places: VecDeque<Option<T>>,
}

impl<T> Window<T> {
    /// Makes a window for at most `capacity` items between pull and emission.
    ///
    /// # Panics
    ///
    /// If `capacity` is 0.
    ///
    /// ```
    /// # use ringmill_materialize::{Order, Window};
    /// let window: Window<String> = Window::new(Order::Completion, 100);
    /// assert_eq!(window.capacity(), 100);
    /// ```
    #[must_use]
    pub fn new(order: Order, capacity: usize) -> Self {
        assert!(capacity > 0, "a window needs room for one item");
        Self {
            order,
            capacity: capacity as u64,
            pulled: 0,
            finished: 0,
            taken: 0,
            emitted: 0,
            places: VecDeque::new(),
        }
    }

    /// The number of items that may be pulled now.
    ///
    /// ```
    /// # use ringmill_materialize::{Order, Window};
    /// let mut window: Window<()> = Window::new(Order::Input, 3);
    /// window.pull(2);
    /// assert_eq!(window.room(), 1);
    /// ```
    #[must_use]
    pub fn room(&self) -> usize {
        usize::try_from(self.capacity - (self.pulled - self.emitted)).unwrap_or(usize::MAX)
    }

    /// Counts `count` more items as pulled. Their indexes follow those of the items pulled before, and
    /// begin with 0.
    ///
    /// # Panics
    ///
    /// If `count` is greater than [`Window::room`].
    ///
    /// ```
    /// # use ringmill_materialize::{Order, Window};
    /// let mut window: Window<()> = Window::new(Order::Input, 3);
    /// window.pull(2); // items 0 and 1
    /// window.pull(1); // item 2
    /// assert_eq!(window.pulled(), 3);
    /// ```
    pub fn pull(&mut self, count: usize) {
        assert!(
            count <= self.room(),
            "pulled more than the window has room for"
        );
        self.pulled += count as u64;
        if self.order == Order::Input {
            for _ in 0..count {
                self.places.push_back(None);
            }
        }
    }

    /// Stores the result of the item with this index.
    ///
    /// # Panics
    ///
    /// If the item was not pulled, or has a result already. (In completion order a second result is not
    /// noticed.)
    ///
    /// ```
    /// # use ringmill_materialize::{Order, Window};
    /// let mut window = Window::new(Order::Input, 3);
    /// window.pull(1);
    /// window.finish(0, "result");
    /// assert!(window.head_is_ready());
    /// ```
    pub fn finish(&mut self, index: u64, result: T) {
        assert!(index < self.pulled, "item {index} was never pulled");
        match self.order {
            Order::Input => {
                let place = index.checked_sub(self.taken).expect("item finished twice");
                let place = &mut self.places[usize::try_from(place).expect("place in the window")];
                assert!(place.is_none(), "item {index} finished twice");
                *place = Some(result);
            }
            Order::Completion => self.places.push_back(Some(result)),
        }
        self.finished += 1;
    }

    /// True if waiting results take up an eighth of the window, or are at least 8,192: results should be
    /// emitted, before the window is full or very many results wait. For a capacity below 8 it is always
    /// true.
    ///
    /// ```
    /// # use ringmill_materialize::{Order, Window};
    /// let mut window = Window::new(Order::Input, 16);
    /// window.pull(2);
    /// window.finish(0, ());
    /// assert!(!window.is_filling_up());
    /// window.finish(1, ());
    /// assert!(window.is_filling_up());
    /// ```
    #[must_use]
    pub fn is_filling_up(&self) -> bool {
        self.waiting() >= (self.capacity / 8).min(FILLING_UP_AT_MAX)
    }

    /// True if a result can be emitted now: in input order, that of the oldest item.
    ///
    /// ```
    /// # use ringmill_materialize::{Order, Window};
    /// let mut window = Window::new(Order::Input, 3);
    /// window.pull(2);
    /// window.finish(1, "second");
    /// assert!(!window.head_is_ready());
    /// ```
    #[must_use]
    pub fn head_is_ready(&self) -> bool {
        matches!(self.places.front(), Some(Some(_)))
    }

    /// Takes the next result if it can be emitted now.
    ///
    /// It counts as emitted only after [`Window::mark_emitted`].
    ///
    /// ```
    /// # use ringmill_materialize::{Order, Window};
    /// let mut window = Window::new(Order::Completion, 3);
    /// window.pull(2);
    /// window.finish(1, "second");
    /// assert_eq!(window.take_one(), Some("second"));
    /// assert_eq!(window.take_one(), None);
    /// ```
    #[must_use = "the result is no longer in the window"]
    pub fn take_one(&mut self) -> Option<T> {
        if !self.head_is_ready() {
            return None;
        }
        self.taken += 1;
        self.places.pop_front().flatten()
    }

    /// Moves up to `max` results that can be emitted now to the end of `into`.
    ///
    /// They count as emitted only after [`Window::mark_emitted`].
    ///
    /// ```
    /// # use ringmill_materialize::{Order, Window};
    /// let mut window = Window::new(Order::Input, 3);
    /// window.pull(3);
    /// (0..3).for_each(|index| window.finish(index, index * 10));
    /// let mut results = Vec::new();
    /// window.take_ready(2, &mut results);
    /// assert_eq!(results, [0, 10]);
    /// ```
    pub fn take_ready(&mut self, max: usize, into: &mut Vec<T>) {
        into.extend(std::iter::from_fn(|| self.take_one()).take(max));
    }

    /// Counts `count` more taken results as emitted, which makes room for as many items.
    ///
    /// # Panics
    ///
    /// If more results were counted as emitted than were taken.
    ///
    /// ```
    /// # use ringmill_materialize::{Order, Window};
    /// let mut window = Window::new(Order::Input, 1);
    /// window.pull(1);
    /// window.finish(0, "result");
    /// println!("{}", window.take_one().unwrap());
    /// window.mark_emitted(1);
    /// assert_eq!(window.room(), 1);
    /// ```
    pub fn mark_emitted(&mut self, count: usize) {
        self.emitted += count as u64;
        assert!(self.emitted <= self.taken, "emitted more than was taken");
    }

    /// The number of items pulled so far.
    ///
    /// ```
    /// # use ringmill_materialize::{Order, Window};
    /// let mut window: Window<()> = Window::new(Order::Input, 3);
    /// window.pull(2);
    /// assert_eq!(window.pulled(), 2);
    /// ```
    #[must_use]
    pub fn pulled(&self) -> u64 {
        self.pulled
    }

    /// The number of results emitted so far.
    ///
    /// ```
    /// # use ringmill_materialize::{Order, Window};
    /// let mut window = Window::new(Order::Input, 3);
    /// window.pull(1);
    /// window.finish(0, "result");
    /// let _result = window.take_one();
    /// assert_eq!(window.emitted(), 0);
    /// window.mark_emitted(1);
    /// assert_eq!(window.emitted(), 1);
    /// ```
    #[must_use]
    pub fn emitted(&self) -> u64 {
        self.emitted
    }

    /// The number of items pulled and not finished.
    ///
    /// ```
    /// # use ringmill_materialize::{Order, Window};
    /// let mut window = Window::new(Order::Input, 3);
    /// window.pull(2);
    /// window.finish(1, "second");
    /// assert_eq!(window.in_flight(), 1);
    /// ```
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.pulled - self.finished
    }

    /// The number of items finished and not emitted.
    ///
    /// ```
    /// # use ringmill_materialize::{Order, Window};
    /// let mut window = Window::new(Order::Input, 3);
    /// window.pull(2);
    /// window.finish(1, "second");
    /// assert_eq!(window.waiting(), 1);
    /// ```
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.finished - self.emitted
    }

    /// Bounds on the number of results to come, from those on the number of items that are not pulled yet:
    /// one result for each of these, and for each item in the window.
    pub(crate) fn results_left(
        &self,
        (lower, upper): (usize, Option<usize>),
    ) -> (usize, Option<usize>) {
        let inside = usize::try_from(self.pulled - self.emitted).unwrap_or(usize::MAX);
        let upper = upper.and_then(|upper| upper.checked_add(inside));
        (lower.saturating_add(inside), upper)
    }

    /// The limit on pulled − emitted.
    ///
    /// ```
    /// # use ringmill_materialize::{Order, Window};
    /// assert_eq!(Window::<()>::new(Order::Input, 3).capacity(), 3);
    /// ```
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.capacity
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ready(window: &mut Window<u64>) -> Vec<u64> {
        let mut taken = Vec::new();
        window.take_ready(usize::MAX, &mut taken);
        taken
    }

    #[test]
    fn results_wait_for_the_head() {
        let mut window = Window::new(Order::Input, 4);
        window.pull(3);
        window.finish(2, 2);
        window.finish(1, 1);
        assert!(!window.head_is_ready());
        assert_eq!((window.in_flight(), window.waiting()), (1, 2));
        window.finish(0, 0);
        assert_eq!(ready(&mut window), [0, 1, 2]);
        assert_eq!(
            window.room(),
            1,
            "a taken result leaves no room until it is emitted"
        );
        window.mark_emitted(3);
        assert_eq!(window.room(), 4);
    }

    #[test]
    fn completion_order_does_not_wait() {
        let mut window = Window::new(Order::Completion, 4);
        window.pull(3);
        window.finish(2, 2);
        assert_eq!(ready(&mut window), [2]);
    }

    #[test]
    fn one_result_can_be_taken() {
        let mut window = Window::new(Order::Input, 4);
        window.pull(2);
        window.finish(1, 'b');
        assert_eq!(window.take_one(), None);
        window.finish(0, 'a');
        assert_eq!(window.take_one(), Some('a'));
        assert_eq!((window.waiting(), window.emitted()), (2, 0));
        window.mark_emitted(1);
        assert_eq!(window.take_one(), Some('b'));
        assert_eq!(window.take_one(), None);
    }

    #[test]
    #[should_panic(expected = "finished twice")]
    fn an_item_cannot_finish_twice() {
        let mut window = Window::new(Order::Input, 4);
        window.pull(1);
        window.finish(0, 0);
        window.finish(0, 0);
    }

    proptest! {
        /// I2, I3, I4 on the window alone: any legal sequence keeps count and order.
        #[test]
        fn any_schedule_keeps_count_and_order(
            capacity in 1_usize..20,
            steps in proptest::collection::vec((0_u8..4, any::<prop::sample::Index>()), 0..300),
        ) {
            let mut window = Window::new(Order::Input, capacity);
            let mut unfinished: Vec<u64> = Vec::new();
            let mut next_index = 0;
            let mut next_emitted = 0;
            let mut unmarked = 0;
            for (step, choice) in steps {
                match step {
                    0 => {
                        let count = choice.index(window.room() + 1);
                        window.pull(count);
                        unfinished.extend(next_index..next_index + count as u64);
                        next_index += count as u64;
                    }
                    1 if !unfinished.is_empty() => {
                        let index = unfinished.swap_remove(choice.index(unfinished.len()));
                        window.finish(index, index);
                    }
                    2 => for result in ready(&mut window) {
                        prop_assert_eq!(result, next_emitted);
                        next_emitted += 1;
                        unmarked += 1;
                    },
                    _ => {
                        window.mark_emitted(unmarked);
                        unmarked = 0;
                    }
                }
                prop_assert_eq!(
                    window.pulled() - window.emitted(),
                    window.in_flight() + window.waiting()
                );
                prop_assert!(window.in_flight() + window.waiting() <= window.capacity());
                prop_assert_eq!(window.in_flight(), unfinished.len() as u64);
            }
        }
    }
}
