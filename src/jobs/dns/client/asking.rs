//! Asking a question: the item waits for admission, and then for its answer.

use super::Client;
use crate::jobs::dns::answer::Answer;
use crate::jobs::dns::question::Question;
use std::cell::Cell;
use std::future::poll_fn;
use std::task::{Context, Poll};

impl Client {
    /// Asks a question once the resolver has room for it. Until then the item is parked. It is parked
    /// again if all servers are silent and there are other clients: otherwise it would occupy a slot in
    /// flight for long.
    pub(in crate::jobs) async fn ask(&self, question: Question) -> Answer {
        let mut admission = Admission::new(self);
        self.io
            .park(poll_fn(|context| admission.poll(context)))
            .await;
        let pending = self.begin(question, admission);
        let answered_at_once = poll_fn(|context| match pending.poll(context) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if self.parks.get() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        if let Some(answer) = answered_at_once.await {
            return answer;
        }
        // Boxed, so that the futures of other names stay small.
        let answered = poll_fn(|context| pending.poll(context));
        Box::pin(self.io.park(answered)).await
    }

    fn begin(&self, question: Question, admission: Admission<'_>) -> PendingAnswer<'_> {
        let pending = PendingAnswer::new(self);
        let now = self.io.now();
        self.resolver
            .borrow_mut()
            .ask(pending.number, question, now);
        self.admissions.borrow_mut().free = self.resolver.borrow_mut().room(now);
        drop(admission);
        self.after_change();
        pending
    }
}

/// The admission of an item: it waits for room, and then reserves it until the item has asked.
struct Admission<'a> {
    client: &'a Client,
    ticket: Option<u64>,
    is_reserved: bool,
}

impl<'a> Admission<'a> {
    fn new(client: &'a Client) -> Self {
        Self {
            client,
            ticket: None,
            is_reserved: false,
        }
    }

    fn poll(&mut self, context: &Context<'_>) -> Poll<()> {
        let admissions = &mut *self.client.admissions.borrow_mut();
        let at = self.ticket.and_then(|ticket| admissions.find(ticket));
        if at.unwrap_or(admissions.waiting.len()) < admissions.available() {
            if let Some(at) = at {
                admissions.waiting.remove(at);
            }
            admissions.reserved += 1;
            self.ticket = None;
            self.is_reserved = true;
            return Poll::Ready(());
        }
        match at {
            Some(at) => admissions.waiting[at].1.clone_from(context.waker()),
            None => {
                self.ticket = Some(admissions.next_ticket);
                admissions.next_ticket += 1;
                let waker = context.waker().clone();
                admissions
                    .waiting
                    .extend(self.ticket.map(|ticket| (ticket, waker)));
            }
        }
        Poll::Pending
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        let admissions = &mut *self.client.admissions.borrow_mut();
        admissions.reserved -= usize::from(self.is_reserved);
        if let Some(at) = self.ticket.and_then(|ticket| admissions.find(ticket)) {
            admissions.waiting.remove(at);
        }
        // Its room goes to the next item.
        admissions.wake();
    }
}

/// The answer that an item waits for. Dropping it earlier cancels the question.
struct PendingAnswer<'a> {
    client: &'a Client,
    number: u32,
    is_answered: Cell<bool>,
}

impl<'a> PendingAnswer<'a> {
    fn new(client: &'a Client) -> Self {
        Self {
            client,
            number: client.askers.borrow_mut().add(),
            is_answered: Cell::new(false),
        }
    }

    fn poll(&self, context: &Context<'_>) -> Poll<Answer> {
        let mut askers = self.client.askers.borrow_mut();
        let asker = &mut askers.slots[self.number as usize];
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

impl Drop for PendingAnswer<'_> {
    fn drop(&mut self) {
        let mut askers = self.client.askers.borrow_mut();
        let asker = &mut askers.slots[self.number as usize];
        asker.waker = None;
        let had_answer = asker.answer.take().is_some();
        askers.free_slots.push(self.number);
        drop(askers);
        if !self.is_answered.get() && !had_answer {
            self.client
                .update(|resolver, now| resolver.forget(self.number, now));
        }
    }
}
