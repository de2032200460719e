//! Facts that all loops of a run share: each is looked up once, by the first item that needs it. Items that
//! need it meanwhile wait for that item.

use crate::lock::lock;
use std::collections::HashMap;
use std::future::poll_fn;
use std::hash::Hash;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// Facts that are remembered, of each of two generations.
const REMEMBERED_MAX: usize = 32_768;

/// The known facts by their keys.
#[derive(Debug)]
pub(super) struct SharedFacts<K, V> {
    known: Arc<Mutex<Known<K, V>>>,
}

#[derive(Debug)]
struct Known<K, V> {
    recent: HashMap<K, V>,
    /// The generation before. An entry that is used again becomes recent.
    older: HashMap<K, V>,
    in_flight: HashMap<K, Arc<Mutex<Inquiry<V>>>>,
}

/// A lookup of a fact.
#[derive(Debug)]
struct Inquiry<V> {
    /// Its result, when it has ended.
    end: Option<End<V>>,
    waiting: Vec<Waker>,
}

/// The result of an inquiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End<V> {
    /// This is the fact.
    Known(V),
    /// The fact could not be found out.
    Failed,
    /// The item that asked was dropped.
    Abandoned,
}

/// What an item that needs a fact has to do.
pub(super) enum Step<K: Clone + Eq + Hash, V: Clone> {
    /// Nothing: the fact is known.
    Known(V),
    /// Wait for the inquiry of another item.
    Wait(InquiryWaiter<V>),
    /// Ask.
    Ask(InquiryGuard<K, V>),
}

impl<K, V> Clone for SharedFacts<K, V> {
    fn clone(&self) -> Self {
        Self {
            known: Arc::clone(&self.known),
        }
    }
}

impl<K, V> Default for SharedFacts<K, V> {
    fn default() -> Self {
        let known = Known {
            recent: HashMap::new(),
            older: HashMap::new(),
            in_flight: HashMap::new(),
        };
        Self {
            known: Arc::new(Mutex::new(known)),
        }
    }
}

impl<K: Clone + Eq + Hash, V: Clone> SharedFacts<K, V> {
    /// What to do to get the fact with this key. A known fact that is no longer valid is looked up again.
    pub(super) fn begin(&self, key: &K, is_valid: impl Fn(&V) -> bool) -> Step<K, V> {
        let known = &mut *lock(&self.known);
        if let Some(fact) = known.find(key).filter(is_valid) {
            return Step::Known(fact);
        }
        if let Some(inquiry) = known.in_flight.get(key) {
            return Step::Wait(InquiryWaiter(Arc::clone(inquiry)));
        }
        let inquiry = Arc::new(Mutex::new(Inquiry {
            end: None,
            waiting: Vec::new(),
        }));
        let copy = Arc::clone(&inquiry);
        known.in_flight.insert(key.clone(), copy);
        Step::Ask(InquiryGuard {
            shared: self.clone(),
            key: key.clone(),
            inquiry,
            end: End::Abandoned,
        })
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Known<K, V> {
    fn find(&mut self, key: &K) -> Option<V> {
        if let Some(fact) = self.recent.get(key) {
            return Some(fact.clone());
        }
        let (key, fact) = self.older.remove_entry(key)?;
        self.remember(key, fact.clone());
        Some(fact)
    }

    fn remember(&mut self, key: K, fact: V) {
        if self.recent.len() >= REMEMBERED_MAX {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(key, fact);
    }
}

/// Waits for the inquiry of another item.
pub(super) struct InquiryWaiter<V>(Arc<Mutex<Inquiry<V>>>);

impl<V: Clone> InquiryWaiter<V> {
    /// Its result.
    pub(super) async fn end(self) -> End<V> {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&self, context: &Context<'_>) -> Poll<End<V>> {
        let mut inquiry = lock(&self.0);
        if let Some(end) = &inquiry.end {
            return Poll::Ready(end.clone());
        }
        let waker = context.waker();
        if !inquiry.waiting.iter().any(|known| known.will_wake(waker)) {
            inquiry.waiting.push(waker.clone());
        }
        Poll::Pending
    }
}

/// The inquiry of an item that asks. If it is dropped without a result, another item asks.
pub(super) struct InquiryGuard<K: Clone + Eq + Hash, V: Clone> {
    shared: SharedFacts<K, V>,
    key: K,
    inquiry: Arc<Mutex<Inquiry<V>>>,
    end: End<V>,
}

impl<K: Clone + Eq + Hash, V: Clone> InquiryGuard<K, V> {
    /// Ends the inquiry. A failure is passed to the items that wait, but not remembered: the next item
    /// asks again.
    pub(super) fn finish(mut self, end: End<V>) {
        self.end = end;
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Drop for InquiryGuard<K, V> {
    fn drop(&mut self) {
        let end = std::mem::replace(&mut self.end, End::Abandoned);
        let mut known = lock(&self.shared.known);
        known.in_flight.remove(&self.key);
        if let End::Known(fact) = &end {
            known.remember(self.key.clone(), fact.clone());
        }
        drop(known);
        let mut inquiry = lock(&self.inquiry);
        inquiry.end = Some(end);
        let waiting = std::mem::take(&mut inquiry.waiting);
        drop(inquiry);
        waiting.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Facts = SharedFacts<usize, bool>;

    fn begin(shared: &Facts, key: usize) -> Step<usize, bool> {
        shared.begin(&key, |_| true)
    }

    fn begin_asking(shared: &Facts, key: usize) -> InquiryGuard<usize, bool> {
        match begin(shared, key) {
            Step::Ask(asking) => asking,
            _ => panic!("another item asks"),
        }
    }

    fn poll(waiting: &InquiryWaiter<bool>) -> Poll<End<bool>> {
        waiting.poll(&Context::from_waker(Waker::noop()))
    }

    #[test]
    fn one_asks_and_others_wait() {
        let shared = Facts::default();
        for end in [End::Failed, End::Abandoned, End::Known(true)] {
            let asking = begin_asking(&shared, 7);
            let Step::Wait(waiting) = begin(&shared, 7) else {
                panic!("two ask");
            };
            assert!(poll(&waiting).is_pending() && poll(&waiting).is_pending());
            assert_eq!(lock(&waiting.0).waiting.len(), 1);
            match end {
                End::Abandoned => drop(asking),
                end => asking.finish(end),
            }
            assert_eq!(poll(&waiting), Poll::Ready(end));
        }
        assert!(matches!(begin(&shared, 7), Step::Known(true)));
        // It is valid no longer.
        assert!(matches!(shared.begin(&7, |_| false), Step::Ask(_)));
    }

    /// Memory does not grow with the number of facts, and those in use are kept.
    #[test]
    fn what_is_remembered_is_bounded() {
        let (shared, used) = (Facts::default(), usize::MAX);
        begin_asking(&shared, used).finish(End::Known(true));
        for key in 0..3 * REMEMBERED_MAX {
            begin_asking(&shared, key).finish(End::Known(false));
            if key % 1_000 == 0 {
                assert!(matches!(begin(&shared, used), Step::Known(true)));
            }
        }
        let known = lock(&shared.known);
        assert!(known.recent.len() + known.older.len() <= 2 * REMEMBERED_MAX);
        assert!(known.in_flight.is_empty());
    }
}
