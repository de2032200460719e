//! Whether a name has its records from a wildcard (RFC 4592): a random sibling of it then has the same
//! records.
//!
//! The content of siblings is looked up once for each parent and type, by the first item that needs it;
//! other items that need it meanwhile wait for that item.

use super::parent::Parent;
use super::siblings::Content;
use crate::lock::lock;
use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// Parents that are remembered, of each of two generations: a few megabytes.
const REMEMBERED_MAX: usize = 32_768;

/// The known contents of siblings, shared by all loops of a run.
#[derive(Clone, Debug, Default)]
pub struct SharedWildcards {
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    recent: HashMap<Parent, Content>,
    /// The generation before. An entry that is used again becomes recent.
    older: HashMap<Parent, Content>,
    in_flight: HashMap<Parent, Arc<Mutex<Inquiry>>>,
}

/// A lookup of a sibling.
#[derive(Debug, Default)]
struct Inquiry {
    /// Its result, when it has ended.
    end: Option<End>,
    waiting: Vec<Waker>,
}

/// The result of an inquiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The sibling has this content.
    Known(Content),
    /// No server answered.
    Failed,
    /// The item that asked was dropped.
    Abandoned,
}

/// What an item that needs the content of siblings has to do.
pub(super) enum Step {
    /// Nothing: the content is known.
    Known(Content),
    /// Wait for the inquiry of another item.
    Wait(InquiryWaiter),
    /// Ask.
    Ask(InquiryGuard),
}

impl SharedWildcards {
    /// What to do to get the content of siblings below this parent.
    pub(super) fn begin(&self, parent: &Parent) -> Step {
        let known = &mut *lock(&self.known);
        if let Some(content) = known.find(parent) {
            return Step::Known(content);
        }
        if let Some(inquiry) = known.in_flight.get(parent) {
            return Step::Wait(InquiryWaiter(Arc::clone(inquiry)));
        }
        let inquiry = Arc::default();
        let copy = Arc::clone(&inquiry);
        known.in_flight.insert(parent.clone(), copy);
        Step::Ask(InquiryGuard {
            shared: self.clone(),
            parent: parent.clone(),
            inquiry,
            end: End::Abandoned,
        })
    }
}

impl Known {
    fn find(&mut self, parent: &Parent) -> Option<Content> {
        if let Some(&content) = self.recent.get(parent) {
            return Some(content);
        }
        let (parent, content) = self.older.remove_entry(parent)?;
        self.remember(parent, content);
        Some(content)
    }

    fn remember(&mut self, parent: Parent, content: Content) {
        if self.recent.len() >= REMEMBERED_MAX {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(parent, content);
    }
}

/// Waits for the inquiry of another item.
pub(super) struct InquiryWaiter(Arc<Mutex<Inquiry>>);

impl InquiryWaiter {
    /// Its result.
    pub(super) async fn end(self) -> End {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&self, context: &Context<'_>) -> Poll<End> {
        let mut inquiry = lock(&self.0);
        if let Some(end) = inquiry.end {
            return Poll::Ready(end);
        }
        let waker = context.waker();
        if !inquiry.waiting.iter().any(|known| known.will_wake(waker)) {
            inquiry.waiting.push(waker.clone());
        }
        Poll::Pending
    }
}

/// The inquiry of an item that asks. If it is dropped without a result, another item asks.
pub(super) struct InquiryGuard {
    shared: SharedWildcards,
    parent: Parent,
    inquiry: Arc<Mutex<Inquiry>>,
    end: End,
}

impl InquiryGuard {
    /// Ends the inquiry. A failure is passed to the items that wait, but not remembered: the next item
    /// asks again.
    pub(super) fn finish(mut self, end: End) {
        self.end = end;
    }
}

impl Drop for InquiryGuard {
    fn drop(&mut self) {
        let mut known = lock(&self.shared.known);
        known.in_flight.remove(&self.parent);
        if let End::Known(content) = self.end {
            known.remember(self.parent.clone(), content);
        }
        drop(known);
        let mut inquiry = lock(&self.inquiry);
        inquiry.end = Some(self.end);
        let waiting = std::mem::take(&mut inquiry.waiting);
        drop(inquiry);
        waiting.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::dns::question::Question;
    use domain::base::Rtype;

    fn parent(name: &str) -> Parent {
        let question = Question::parse(name.as_bytes(), Rtype::A).unwrap();
        Parent::of(&question, 0).unwrap()
    }

    fn begin_asking(shared: &SharedWildcards, parent: &Parent) -> InquiryGuard {
        match shared.begin(parent) {
            Step::Ask(asking) => asking,
            _ => panic!("another item asks"),
        }
    }

    fn poll(waiting: &InquiryWaiter) -> Poll<End> {
        waiting.poll(&Context::from_waker(Waker::noop()))
    }

    #[test]
    fn siblings_have_one_parent() {
        assert_eq!(parent("a.Example"), parent("b.eXample"));
        assert_ne!(parent("a.example"), parent("a.b.example"));
        assert_ne!(parent("a.example"), parent("a.example AAAA"));
        assert_eq!(parent("example").name(), b"\0");
        let root = Question::parse(b".", Rtype::A).unwrap();
        assert_eq!(Parent::of(&root, 0), None);
    }

    #[test]
    fn one_asks_and_others_wait() {
        let (shared, parent) = (SharedWildcards::default(), parent("a.example"));
        for end in [End::Failed, End::Abandoned, End::Known(Content::Nothing)] {
            let asking = begin_asking(&shared, &parent);
            let Step::Wait(waiting) = shared.begin(&parent) else {
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
        assert!(matches!(
            shared.begin(&parent),
            Step::Known(Content::Nothing)
        ));
    }

    /// Memory does not grow with the number of parents, and those in use are kept.
    #[test]
    fn what_is_remembered_is_bounded() {
        let (shared, used) = (SharedWildcards::default(), parent("a.used.example"));
        begin_asking(&shared, &used).finish(End::Known(Content::Nothing));
        for number in 0..3 * REMEMBERED_MAX {
            let asking = begin_asking(&shared, &parent(&format!("a.n{number}.example")));
            asking.finish(End::Known(Content::Nothing));
            if number % 1_000 == 0 {
                assert!(matches!(shared.begin(&used), Step::Known(_)));
            }
        }
        let known = lock(&shared.known);
        assert!(known.recent.len() + known.older.len() <= 2 * REMEMBERED_MAX);
        assert!(known.in_flight.is_empty());
    }
}
