//! Renders results as rows on the loops that produce them, so that the printing thread does not do this
//! work for all loops, and only rows, not values, wait for earlier items.

use super::Job;
use crate::error::ItemError;
use crate::io::Io;
use crate::item::Item;
use crate::stats::Phase;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// How values become rows.
pub trait Render<V>: Send + Sync + 'static {
    /// What is kept of a value besides its row.
    type Note: Send + 'static;

    /// Appends the row of an item with this value.
    fn render(&self, row: &mut Vec<u8>, item: &Item, value: V) -> Self::Note;

    /// The memory that a note holds besides itself, in bytes.
    fn bytes_held(_note: &Self::Note) -> usize {
        0
    }
}

/// A job whose values are the rows of another job's values.
pub struct Rendered<J, R> {
    /// The other job.
    pub job: J,
    /// How its values become rows.
    pub render: Arc<R>,
}

/// A rendered value.
#[derive(Debug)]
pub struct Row<N> {
    /// The bytes to print.
    pub bytes: Box<[u8]>,
    /// What is kept besides the row.
    pub note: N,
    is_failure: bool,
}

/// The state that the items of a loop share.
pub struct Local<L, R> {
    of_job: Rc<L>,
    render: Arc<R>,
    /// A reused buffer in which each row is built, because its length is not known in advance.
    row: RefCell<Vec<u8>>,
}

impl<J: Job, R: Render<J::Value>> Job for Rendered<J, R> {
    type Value = Row<R::Note>;
    type Local = Local<J::Local, R>;

    const PHASES: &'static [Phase] = J::PHASES;

    const WAITS_FOR_REPLIES: bool = J::WAITS_FOR_REPLIES;

    fn local(&self, io: &Io) -> Self::Local {
        Local {
            of_job: Rc::new(self.job.local(io)),
            render: Arc::clone(&self.render),
            row: RefCell::default(),
        }
    }

    fn run(
        local: Rc<Self::Local>,
        io: Io,
        item: Item,
    ) -> impl Future<Output = Result<Self::Value, ItemError>> + 'static {
        let task = J::run(Rc::clone(&local.of_job), io, item.clone());
        async move {
            let value = task.await?;
            let row = &mut *local.row.borrow_mut();
            row.clear();
            let is_failure = J::is_failure(&value);
            let note = local.render.render(row, &item, value);
            Ok(Row {
                bytes: row.as_slice().into(),
                note,
                is_failure,
            })
        }
    }

    fn is_failure(row: &Self::Value) -> bool {
        row.is_failure
    }

    fn bytes_held(row: &Self::Value) -> usize {
        row.bytes.len() + R::bytes_held(&row.note)
    }
}
