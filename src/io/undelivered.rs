//! Datagrams that are sent without a future that waits for them, and may fail.

use super::op::{Op, Outcome};
use crate::error::Errno;
use std::cell::RefCell;
use std::rc::Rc;
use std::task::Waker;

/// Where an operation that no future waits for goes if it fails.
#[derive(Debug)]
pub(super) struct Detached(pub(super) Rc<Undelivered>);

/// Datagrams that could not be sent, with the errors.
#[derive(Debug, Default)]
pub struct Undelivered {
    failed: RefCell<Vec<(Vec<u8>, Errno)>>,
    waker: RefCell<Option<Waker>>,
}

impl Undelivered {
    /// Takes one of them. If there is none, the waker is called when there is one.
    pub fn take(&self, waker: &Waker) -> Option<(Vec<u8>, Errno)> {
        let failed = self.failed.borrow_mut().pop();
        if failed.is_none() {
            self.waker.replace(Some(waker.clone()));
        }
        failed
    }
}

impl Detached {
    pub(super) fn completed(self, op: Op, outcome: &Outcome) {
        if let (Op::Send { bytes, .. }, Err(errno)) = (op, outcome) {
            self.0.failed.borrow_mut().push((bytes, *errno));
            if let Some(waker) = self.0.waker.take() {
                waker.wake();
            }
        }
    }
}
