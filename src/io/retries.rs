//! Operations that failed because a resource was exhausted, and wait to be retried. When that
//! happens is decided in [`pressure`](super::pressure).

use super::op::Op;
use super::op_slab::BACKGROUND;
use crate::error::Errno;
use slab::Slab;
use std::task::Waker;

/// Operations that wait to be retried, by key, and items on workers that failed for the same
/// reason.
#[derive(Debug, Default)]
pub(super) struct Retries {
    entries: Slab<Entry>,
    /// By slot: how many operations of the item, or attempts on workers, have failed in this way
    /// and have not ended since.
    of_items: Vec<u32>,
    /// The number of items for which that is not 0.
    items: usize,
}

#[derive(Debug)]
enum Entry {
    Op {
        op: Op,
        errno: Errno,
        waker: Waker,
        /// Whether to give it up; `None` until that is decided.
        gives_up: Option<bool>,
    },
    /// The item in this slot failed on a worker.
    Item(u32),
}

/// What to do with an operation that waits to be retried.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Nothing is decided: wait on.
    Wait,
    /// Try again.
    Retry(Op),
    /// The error is the outcome.
    GiveUp(Op, Errno),
}

impl Retries {
    pub(super) fn insert(&mut self, op: Op, errno: Errno, waker: Waker) -> u32 {
        self.add(Entry::Op {
            op,
            errno,
            waker,
            gives_up: None,
        })
    }

    pub(super) fn insert_item(&mut self, slot: u32) -> u32 {
        self.add(Entry::Item(slot))
    }

    /// Items with operations that are being retried. An operation counts until it has ended.
    /// Background tasks are not items.
    pub(super) fn items(&self) -> usize {
        self.items
    }

    /// True if an operation of the item in this slot is being retried.
    pub(super) fn is_retrying(&self, slot: usize) -> bool {
        self.of_items.get(slot).is_some_and(|of_item| *of_item > 0)
    }

    /// An operation of the item in this slot begins to be retried, or has ended.
    pub(super) fn count(&mut self, owner: u32, begins: bool) {
        if owner == BACKGROUND {
            return;
        }
        let owner = owner as usize;
        if self.of_items.len() <= owner {
            self.of_items.resize(owner + 1, 0);
        }
        let of_item = &mut self.of_items[owner];
        let before = *of_item;
        *of_item = if begins { before + 1 } else { before - 1 };
        self.items += usize::from(before == 0);
        self.items -= usize::from(*of_item == 0);
    }

    fn add(&mut self, entry: Entry) -> u32 {
        let key = self.entries.insert(entry);
        u32::try_from(key).expect("fewer than 2^32 operations")
    }

    /// Operations and items that wait to be retried.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Decides about an operation and wakes its task. If it is an item, returns its slot instead.
    pub(super) fn decide(&mut self, key: u32, give_up: bool) -> Option<u32> {
        match &mut self.entries[key as usize] {
            Entry::Op {
                waker, gives_up, ..
            } => {
                *gives_up = Some(give_up);
                waker.wake_by_ref();
                None
            }
            Entry::Item(slot) => {
                let slot = *slot;
                self.take(key);
                Some(slot)
            }
        }
    }

    pub(super) fn verdict(&mut self, key: u32, new_waker: &Waker) -> Verdict {
        if let Entry::Op {
            gives_up: None,
            waker,
            ..
        } = &mut self.entries[key as usize]
        {
            waker.clone_from(new_waker);
            return Verdict::Wait;
        }
        match self.take(key) {
            Entry::Op {
                op,
                gives_up: Some(false),
                ..
            } => Verdict::Retry(op),
            Entry::Op { op, errno, .. } => Verdict::GiveUp(op, errno),
            Entry::Item(_) => unreachable!("items on workers have no futures here"),
        }
    }

    /// Removes an operation that is no longer wanted. True if nothing had been decided about it.
    pub(super) fn remove(&mut self, key: u32) -> bool {
        matches!(self.take(key), Entry::Op { gives_up: None, .. })
    }

    /// The key of the item in this slot, if it waits.
    pub(super) fn key_of_item(&self, slot: u32) -> Option<u32> {
        let is_it = |entry: &Entry| matches!(entry, Entry::Item(other) if *other == slot);
        let (key, _) = self.entries.iter().find(|(_, entry)| is_it(entry))?;
        u32::try_from(key).ok()
    }

    pub(super) fn take_item(&mut self, key: u32) {
        self.take(key);
    }

    fn take(&mut self, key: u32) -> Entry {
        self.entries.remove(key as usize)
    }
}
