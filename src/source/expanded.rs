//! Items that stand for others.

use super::{InputError, Source};
use crate::item::Batch;

/// So many items are handed on at one time, at most, of those that others stand for.
const ITEMS_PER_BATCH: usize = 1024;

/// The items that another one stands for. Each is made when it is taken: there may be more of them than
/// memory holds.
pub type Items = Box<dyn Iterator<Item = Vec<u8>> + Send>;

/// What the items of another source stand for.
pub trait Expand: Send + 'static {
    /// True if all items of this batch stay as they are. A quick look, so that most batches are handed on
    /// untouched; false if it cannot tell.
    fn keeps(&self, batch: &Batch) -> bool;

    /// What this item stands for, perhaps nothing. `None` if it stays as it is.
    fn expand(&self, item: &[u8]) -> Option<Items>;
}

/// The items of another source, or those that they stand for.
pub struct Expanded {
    source: Box<dyn Source>,
    expand: Box<dyn Expand>,
    /// Items of the source that have not been looked at, from this position on.
    batch: Batch,
    position: usize,
    /// What the one before stands for, as far as it has not been handed on.
    items: Option<Items>,
}

impl Expanded {
    /// Replaces the items of a source.
    #[must_use]
    pub fn new(source: Box<dyn Source>, expand: Box<dyn Expand>) -> Self {
        Self {
            source,
            expand,
            batch: Batch::default(),
            position: 0,
            items: None,
        }
    }

    /// What the items that are left stand for, as far as one batch has room for it.
    fn next_of_batch(&mut self) -> Batch {
        let mut next = Batch::default();
        while next.len() < ITEMS_PER_BATCH {
            if let Some(items) = &mut self.items {
                match items.next() {
                    Some(item) => next.push(&item),
                    None => self.items = None,
                }
                continue;
            }
            let Some(item) = self.batch.get(self.position) else {
                break;
            };
            self.position += 1;
            match self.expand.expand(item) {
                None => next.push(item),
                items => self.items = items,
            }
        }
        next
    }
}

impl Source for Expanded {
    fn next_batch(&mut self) -> Result<Option<Batch>, InputError> {
        loop {
            let next = self.next_of_batch();
            if !next.is_empty() {
                return Ok(Some(next));
            }
            match self.source.next_batch()? {
                Some(batch) if !self.expand.keeps(&batch) => {
                    self.batch = batch;
                    self.position = 0;
                }
                kept => return Ok(kept),
            }
        }
    }
}

impl Source for Box<dyn Source> {
    fn next_batch(&mut self) -> Result<Option<Batch>, InputError> {
        (**self).next_batch()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Arguments;

    /// Numbers stand for as many items, `+` for more than there can be.
    struct Numbers;

    impl Expand for Numbers {
        fn keeps(&self, batch: &Batch) -> bool {
            !batch.contains(b'+') && !(b'0'..=b'9').any(|digit| batch.contains(digit))
        }

        fn expand(&self, item: &[u8]) -> Option<Items> {
            if item == b"+" {
                return Some(Box::new(std::iter::repeat(b"endless".to_vec())));
            }
            let count: usize = std::str::from_utf8(item).ok()?.parse().ok()?;
            Some(Box::new((0..count).map(|at| at.to_string().into_bytes())))
        }
    }

    fn expanded(items: impl IntoIterator<Item = String>) -> Expanded {
        let items: Vec<_> = items.into_iter().map(Into::into).collect();
        Expanded::new(Box::new(Arguments::new(items)), Box::new(Numbers))
    }

    #[test]
    fn an_item_becomes_several_or_none_or_stays() {
        let items = ["a", "2", "0", "", "1", "b"].map(str::to_owned);
        let mut expanded = expanded(items);
        let batch = expanded.next_batch().unwrap().unwrap();
        let items: Vec<&[u8]> = batch.iter().collect();
        assert_eq!(items, [&b"a"[..], b"0", b"1", b"", b"0", b"b"]);
        assert!(expanded.next_batch().unwrap().is_none());
    }

    /// Of what a source gives, some may become nothing: that is no end of the input.
    #[test]
    fn batches_of_nothing_are_passed_over() {
        let zeros = std::iter::repeat_n("0", 1000).chain(["a"]);
        let mut expanded = expanded(zeros.map(str::to_owned));
        let batch = expanded.next_batch().unwrap().unwrap();
        assert_eq!(batch.iter().collect::<Vec<_>>(), [b"a"]);
        assert!(expanded.next_batch().unwrap().is_none());
    }

    #[test]
    fn no_more_is_made_than_is_taken() {
        let mut endless = expanded(["a".to_owned(), "+".to_owned()]);
        for _ in 0..3 {
            let batch = endless.next_batch().unwrap().unwrap();
            assert_eq!(batch.len(), ITEMS_PER_BATCH);
        }
        let count = ITEMS_PER_BATCH + 1;
        let mut one_more = expanded([count.to_string()]);
        let lengths = std::iter::from_fn(|| one_more.next_batch().unwrap());
        let lengths: Vec<usize> = lengths.map(|batch| batch.len()).collect();
        assert_eq!(lengths, [ITEMS_PER_BATCH, 1]);
    }
}
