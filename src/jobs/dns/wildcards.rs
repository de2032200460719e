//! Whether a name has its records from a wildcard (RFC 4592): a random name beside it, a sibling, then
//! has the same.
//!
//! What the siblings of a name come to is asked once for each parent and type, by whichever item needs it
//! first; others that need it meanwhile wait for that item.

use super::question::Question;
use super::siblings::Content;
use domain::base::Rtype;
use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Parents that are remembered, of each of two generations: a few megabytes.
const REMEMBERED_MAX: usize = 32_768;

/// Whose siblings have been asked about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Parent {
    /// The name above, in wire format and small letters.
    name: Box<[u8]>,
    qtype: Rtype,
    /// The server that is asked, where each name is asked of every one; otherwise 0.
    server: usize,
}

impl Parent {
    /// That of a question whose name has one.
    pub(super) fn of(question: &Question, server: usize) -> Option<Self> {
        let name = question.name();
        let label_len = usize::from(name[0]);
        (label_len > 0).then(|| Self {
            name: name[1 + label_len..].to_ascii_lowercase().into(),
            qtype: question.qtype(),
            server,
        })
    }

    /// The name above, in wire format and small letters.
    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }
}

/// What is known of siblings, by all loops of a run together.
#[derive(Clone, Debug, Default)]
pub struct SharedWildcards {
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    recent: HashMap<Parent, Content>,
    /// Those that were asked about before. What is asked for again becomes recent.
    older: HashMap<Parent, Content>,
    under_way: HashMap<Parent, Arc<Mutex<Inquiry>>>,
}

/// A sibling that is asked about.
#[derive(Debug, Default)]
struct Inquiry {
    /// When it has ended: what came of it.
    end: Option<End>,
    waiting: Vec<Waker>,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The sibling has this content.
    Known(Content),
    /// No server would tell.
    Failed,
    /// Whoever asked was given up.
    Abandoned,
}

/// What somebody who needs to know of a sibling has to do.
pub(super) enum Step {
    /// Nothing.
    Known(Content),
    /// To wait for another item.
    Wait(Waiting),
    /// To ask.
    Ask(Asking),
}

impl SharedWildcards {
    /// What is to be done to know the siblings below this parent.
    pub(super) fn begin(&self, parent: &Parent) -> Step {
        let known = &mut *lock(&self.known);
        if let Some(content) = known.find(parent) {
            return Step::Known(content);
        }
        if let Some(inquiry) = known.under_way.get(parent) {
            return Step::Wait(Waiting(Arc::clone(inquiry)));
        }
        let inquiry = Arc::default();
        let copy = Arc::clone(&inquiry);
        known.under_way.insert(parent.clone(), copy);
        Step::Ask(Asking {
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

/// Waits for what another item asks.
pub(super) struct Waiting(Arc<Mutex<Inquiry>>);

impl Waiting {
    /// What came of it.
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

/// An item that asks. If it is dropped before it has told what came of that, another will ask.
pub(super) struct Asking {
    shared: SharedWildcards,
    parent: Parent,
    inquiry: Arc<Mutex<Inquiry>>,
    end: End,
}

impl Asking {
    /// Tells what came of it. A failure is told those who wait, and not remembered: the next item asks
    /// again.
    pub(super) fn tell(mut self, end: End) {
        self.end = end;
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let mut known = lock(&self.shared.known);
        known.under_way.remove(&self.parent);
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent(name: &str) -> Parent {
        let question = Question::parse(name.as_bytes(), Rtype::A).unwrap();
        Parent::of(&question, 0).unwrap()
    }

    fn begin_asking(shared: &SharedWildcards, parent: &Parent) -> Asking {
        match shared.begin(parent) {
            Step::Ask(asking) => asking,
            _ => panic!("somebody else asks"),
        }
    }

    fn poll(waiting: &Waiting) -> Poll<End> {
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
                end => asking.tell(end),
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
        begin_asking(&shared, &used).tell(End::Known(Content::Nothing));
        for number in 0..3 * REMEMBERED_MAX {
            let asking = begin_asking(&shared, &parent(&format!("a.n{number}.example")));
            asking.tell(End::Known(Content::Nothing));
            if number % 1_000 == 0 {
                assert!(matches!(shared.begin(&used), Step::Known(_)));
            }
        }
        let known = lock(&shared.known);
        assert!(known.recent.len() + known.older.len() <= 2 * REMEMBERED_MAX);
        assert!(known.under_way.is_empty());
    }
}
