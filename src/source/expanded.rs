//! Items that stand for several.

use super::{InputError, Source};
use crate::item::Batch;

/// What an item of another source becomes.
pub type Expand = Box<dyn Fn(&[u8]) -> Vec<Vec<u8>> + Send>;

/// The items of another source, each replaced by some.
pub struct Expanded {
    source: Box<dyn Source>,
    expand: Expand,
}

impl Expanded {
    /// Replaces the items of a source. `expand` gives at least one for each.
    #[must_use]
    pub fn new(source: Box<dyn Source>, expand: Expand) -> Self {
        Self { source, expand }
    }
}

impl Source for Expanded {
    fn next_batch(&mut self) -> Result<Option<Batch>, InputError> {
        let batch = self.source.next_batch()?;
        Ok(batch.map(|batch| batch.iter().flat_map(|item| (self.expand)(item)).collect()))
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

    #[test]
    fn each_item_becomes_several() {
        let names = ["a", "", "b"].map(Into::into).to_vec();
        let expand: Expand = Box::new(|item| vec![item.to_vec(), [item, b"!"].concat()]);
        let mut expanded = Expanded::new(Box::new(Arguments::new(names)), expand);
        let batch = expanded.next_batch().unwrap().unwrap();
        let items: Vec<&[u8]> = batch.iter().collect();
        assert_eq!(items, [&b"a"[..], b"a!", b"", b"!", b"b", b"b!"]);
        assert!(expanded.next_batch().unwrap().is_none());
    }
}
