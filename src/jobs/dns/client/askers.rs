//! Items that have asked and wait for their answers.

use super::Client;
use crate::jobs::dns::answer::Answer;
use std::cell::Cell;
use std::task::{Context, Poll, Waker};

#[derive(Default)]
pub(super) struct Askers {
    places: Vec<Asker>,
    free: Vec<u32>,
}

#[derive(Default)]
struct Asker {
    answer: Option<Answer>,
    waker: Option<Waker>,
}

impl Askers {
    fn add(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.places.push(Asker::default());
            u32::try_from(self.places.len() - 1).expect("fewer than 2^32 questions")
        })
    }

    pub(super) fn answered(&mut self, number: u32, answer: Answer) {
        let asker = &mut self.places[number as usize];
        asker.answer = Some(answer);
        if let Some(waker) = asker.waker.take() {
            waker.wake();
        }
    }

    /// Wakes all who have no answer yet.
    pub(super) fn wake(&self) {
        let wakers = self.places.iter().filter_map(|asker| asker.waker.as_ref());
        wakers.for_each(Waker::wake_by_ref);
    }
}

/// An item that has asked. Dropping it before the answer makes the resolver forget it.
pub(super) struct Asking<'a> {
    client: &'a Client,
    pub(super) number: u32,
    is_answered: Cell<bool>,
}

impl<'a> Asking<'a> {
    pub(super) fn new(client: &'a Client) -> Self {
        Self {
            client,
            number: client.askers.borrow_mut().add(),
            is_answered: Cell::new(false),
        }
    }

    pub(super) fn poll(&self, context: &Context<'_>) -> Poll<Answer> {
        let mut askers = self.client.askers.borrow_mut();
        let asker = &mut askers.places[self.number as usize];
        match asker.answer.take() {
            Some(answer) => {
                self.is_answered.set(true);
                Poll::Ready(answer)
            }
            None => {
                asker.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut askers = self.client.askers.borrow_mut();
        let asker = &mut askers.places[self.number as usize];
        asker.waker = None;
        let had_answer = asker.answer.take().is_some();
        askers.free.push(self.number);
        drop(askers);
        if !self.is_answered.get() && !had_answer {
            self.client
                .tell(|resolver, now| resolver.forget(self.number, now));
        }
    }
}
