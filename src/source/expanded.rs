//! A source that replaces items by the items they stand for.

use super::{InputError, Source};
use crate::item::Batch;

/// The most items of a batch that is made from expanded items.
const ITEMS_PER_BATCH: usize = 1024;

/// The items that one item stands for. Each is made when it is taken, because there may be more than fit
/// into memory.
pub type Items = Box<dyn Iterator<Item = Vec<u8>> + Send>;

/// Tells which items an item stands for.
pub trait Expand: Send + 'static {
    /// True if all items of this batch stay as they are, so that the batch is passed on unchanged. A quick
    /// check, which may return false although they do.
    fn keeps(&self, batch: &Batch) -> bool;

    /// The items that this item stands for, perhaps none. `None` if it stays as it is.
    fn expand(&self, item: &[u8]) -> Option<Items>;
}

/// A source of the items of another source, each replaced by the items it stands for.
pub struct Expanded {
    source: Box<dyn Source>,
    expand: Box<dyn Expand>,
    /// Items of the source, not yet expanded from `position` on.
    batch: Batch,
    position: usize,
    /// The rest of the items that the item before `position` stands for.
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

    /// A batch of what the remaining items of `batch` stand for; empty if there are none left.
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

    /// A number stands for that many items, `+` for an endless series.
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

    /// A batch whose items all stand for nothing is not the end of the input.
    #[test]
    fn batches_that_become_empty_are_skipped() {
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
