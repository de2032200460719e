//! Items that have asked and wait for their answers.

use crate::jobs::dns::answer::Answer;
use std::task::Waker;

#[derive(Default)]
pub(super) struct Askers {
    pub(super) slots: Vec<Asker>,
    pub(super) free_slots: Vec<u32>,
}

#[derive(Default)]
pub(super) struct Asker {
    pub(super) answer: Option<Answer>,
    pub(super) waker: Option<Waker>,
}

impl Askers {
    pub(super) fn add(&mut self) -> u32 {
        self.free_slots.pop().unwrap_or_else(|| {
            self.slots.push(Asker::default());
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 questions")
        })
    }

    pub(super) fn answered(&mut self, number: u32, answer: Answer) {
        let asker = &mut self.slots[number as usize];
        asker.answer = Some(answer);
        if let Some(waker) = asker.waker.take() {
            waker.wake();
        }
    }

    /// Wakes all items that have no answer yet.
    pub(super) fn wake(&self) {
        let wakers = self.slots.iter().filter_map(|asker| asker.waker.as_ref());
        wakers.for_each(Waker::wake_by_ref);
    }
}
