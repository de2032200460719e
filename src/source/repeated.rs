//! Items that are repeated.

use super::{Expand, Items};
use crate::item::Batch;

/// Repeats each item that another [`Expand`] gives, `times` times in a row.
pub struct Repeated<E> {
    expand: E,
    times: usize,
}

impl<E: Expand> Repeated<E> {
    /// Repeats each item that `expand` gives.
    #[must_use]
    pub fn new(expand: E, times: usize) -> Self {
        Self { expand, times }
    }
}

impl<E: Expand> Expand for Repeated<E> {
    fn keeps(&self, batch: &Batch) -> bool {
        self.times == 1 && self.expand.keeps(batch)
    }

    fn expand(&self, item: &[u8]) -> Option<Items> {
        let times = self.times;
        match self.expand.expand(item) {
            None if times == 1 => None,
            None => Some(Box::new(std::iter::repeat_n(item.to_vec(), times))),
            Some(items) => Some(Box::new(
                items.flat_map(move |item| std::iter::repeat_n(item, times)),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An item stands for its letters, without `#`; `=` stays as it is.
    struct Letters;

    impl Expand for Letters {
        fn keeps(&self, batch: &Batch) -> bool {
            batch.iter().all(|item| item == b"=")
        }

        fn expand(&self, item: &[u8]) -> Option<Items> {
            let letters = item.iter().filter(|&&letter| letter != b'#');
            let items: Vec<Vec<u8>> = letters.map(|&letter| vec![letter]).collect();
            (item != b"=").then(|| -> Items { Box::new(items.into_iter()) })
        }
    }

    #[test]
    fn each_item_is_repeated() {
        for (item, times, expected) in [
            ("ab", 3, Some("aaabbb")),
            ("ab", 1, Some("ab")),
            ("#", 3, Some("")),
            ("=", 2, Some("==")),
            ("=", 1, None),
        ] {
            let items = Repeated::new(Letters, times).expand(item.as_bytes());
            let items = items.map(|items| String::from_utf8(items.flatten().collect()).unwrap());
            assert_eq!(items.as_deref(), expected, "{item} {times}");
        }
        let batch = Batch::from_iter(["="]);
        assert!(Repeated::new(Letters, 1).keeps(&batch));
        assert!(!Repeated::new(Letters, 2).keeps(&batch));
    }
}
