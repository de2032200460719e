//! Items and the batches they travel in.
//!
//! A batch keeps the bytes of many items in one allocation, each followed by a NUL, so that a path is passed
//! to the kernel without a copy. An item is a reference to its batch and a position.

use std::ffi::CStr;
use std::ops::Range;
use std::sync::Arc;

/// The longest path that the kernel accepts, in bytes, without its terminating NUL.
pub const PATH_LEN_MAX: usize = libc::PATH_MAX as usize - 1;

/// A sequence of items with consecutive indexes.
#[derive(Debug, Default)]
pub struct Batch {
    first_index: u64,
    /// The items' bytes, each followed by a NUL.
    bytes: Vec<u8>,
    /// For each item, the position of its NUL in `bytes`.
    ends: Vec<u32>,
}

impl Batch {
    /// Builds a batch from bytes in which each item ends at an offset in `ends`, where there must be a NUL
    /// instead of the separator.
    pub(crate) fn from_parts(bytes: Vec<u8>, ends: Vec<u32>) -> Self {
        debug_assert!(ends.iter().all(|&end| bytes[end as usize] == 0));
        Self {
            first_index: 0,
            bytes,
            ends,
        }
    }

    /// The number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True if there is no item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of each item.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.ends.len()).filter_map(|at| self.get(at))
    }

    /// The bytes of the item at this position, if there is one.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<&[u8]> {
        let end = *self.ends.get(at)? as usize;
        Some(&self.bytes[self.start_of(at)..end])
    }

    /// True if an item contains this byte, which must not be NUL.
    #[must_use]
    pub fn contains(&self, byte: u8) -> bool {
        debug_assert_ne!(byte, 0, "it follows each item");
        memchr::memchr(byte, &self.bytes).is_some()
    }

    /// Adds an item at the end.
    pub(crate) fn push(&mut self, item: &[u8]) {
        self.bytes.extend_from_slice(item);
        let end = u32::try_from(self.bytes.len()).expect("a batch holds less than 4 GiB");
        self.ends.push(end);
        self.bytes.push(0);
    }

    /// Adds the items of another batch at the end.
    pub(crate) fn append(&mut self, other: &Self) {
        other.iter().for_each(|item| self.push(item));
    }

    pub(crate) fn set_first_index(&mut self, index: u64) {
        self.first_index = index;
    }

    /// The item's bytes with the NUL that ends them.
    fn bytes_with_nul(&self, position: u32) -> &[u8] {
        let position = position as usize;
        &self.bytes[self.start_of(position)..=self.ends[position] as usize]
    }

    fn start_of(&self, position: usize) -> usize {
        match position {
            0 => 0,
            _ => self.ends[position - 1] as usize + 1,
        }
    }

    /// A new batch with copies of the items in the range.
    fn copy(&self, range: &Range<u32>) -> Self {
        let (first, end) = (range.start as usize, range.end as usize);
        let start = self.start_of(first);
        // `start` fits u32, because it is not larger than an end.
        #[allow(clippy::cast_possible_truncation)]
        let ends = self.ends[first..end].iter().map(|end| end - start as u32);
        Self {
            first_index: self.first_index + u64::from(range.start),
            bytes: self.bytes[start..self.start_of(end)].to_vec(),
            ends: ends.collect(),
        }
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for Batch {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut batch = Self::default();
        for item in items {
            batch.push(item.as_ref());
        }
        batch
    }
}

/// Consecutive items of a batch, for one loop.
#[derive(Clone, Debug)]
pub struct BatchSlice {
    batch: Arc<Batch>,
    range: Range<u32>,
}

impl BatchSlice {
    pub(crate) fn new(batch: Arc<Batch>, range: Range<u32>) -> Self {
        debug_assert!(range.end as usize <= batch.len());
        Self { batch, range }
    }

    /// The items, in a new batch: if they shared a batch with the items of other loops, the cache line of its
    /// reference count would move between the processors with every item.
    pub fn items(&self) -> impl Iterator<Item = Item> + use<> {
        let batch = Arc::new(self.batch.copy(&self.range));
        let count = self.range.end - self.range.start;
        (0..count).map(move |position| Item::new(Arc::clone(&batch), position))
    }
}

/// One unit of input. Cheap to clone: it shares its batch.
#[derive(Clone, Debug)]
pub struct Item {
    batch: Arc<Batch>,
    position: u32,
}

impl Item {
    pub(crate) fn new(batch: Arc<Batch>, position: u32) -> Self {
        debug_assert!((position as usize) < batch.len());
        Self { batch, position }
    }

    /// The item's position in the input, counted from 0.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.batch.first_index + u64::from(self.position)
    }

    /// The item's bytes as they were in the input, without the separator.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        let with_nul = self.batch.bytes_with_nul(self.position);
        &with_nul[..with_nul.len() - 1]
    }

    /// The item as a path for the kernel; `None` if it contains a NUL byte.
    #[must_use]
    pub fn path(&self) -> Option<&CStr> {
        self.path_from(0)
    }

    /// A copy of the item in `batch`, whose memory is reused if nothing else refers to that batch.
    pub(crate) fn copy_into(&self, batch: &mut Arc<Batch>) -> Self {
        if Arc::get_mut(batch).is_none() {
            *batch = Arc::default();
        }
        let copy = Arc::get_mut(batch).expect("the only reference");
        copy.first_index = self.index();
        copy.bytes.clear();
        copy.bytes
            .extend_from_slice(self.batch.bytes_with_nul(self.position));
        let end = u32::try_from(copy.bytes.len() - 1).expect("it fits, as it did before");
        copy.ends.clear();
        copy.ends.push(end);
        Self::new(Arc::clone(batch), 0)
    }

    /// The path from this byte on.
    pub(crate) fn path_from(&self, start: usize) -> Option<&CStr> {
        let path = self.batch.bytes_with_nul(self.position);
        CStr::from_bytes_with_nul(&path[start..]).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_keep_their_bytes_and_indexes() {
        let mut batch = Batch::from_iter([&b"a"[..], b"", b"x\0y", b"\xff\n"]);
        batch.set_first_index(40);
        let batch = Arc::new(batch);
        let items: Vec<Item> = (0..4).map(|at| Item::new(Arc::clone(&batch), at)).collect();
        assert_eq!(items[0].bytes(), b"a");
        assert_eq!(items[1].bytes(), b"");
        assert_eq!(items[1].path(), Some(c""));
        assert_eq!(items[2].bytes(), b"x\0y");
        assert_eq!(items[2].path(), None);
        assert_eq!(items[3].path().map(CStr::to_bytes), Some(&b"\xff\n"[..]));
        assert_eq!(items[3].index(), 43);
    }

    #[test]
    fn the_items_of_a_slice_are_those_of_the_batch() {
        let mut batch = Batch::from_iter(["one", "", "three", "4"]);
        batch.set_first_index(7);
        let batch = Arc::new(batch);
        for (start, end) in [(0, 4), (0, 1), (1, 3), (3, 4), (2, 2)] {
            let slice = BatchSlice::new(Arc::clone(&batch), start..end);
            let whole = (start..end).map(|at| Item::new(Arc::clone(&batch), at));
            let (copies, whole): (Vec<Item>, Vec<Item>) =
                (slice.items().collect(), whole.collect());
            assert_eq!(copies.len(), whole.len());
            for (copy, item) in copies.iter().zip(&whole) {
                assert_eq!((copy.index(), copy.path()), (item.index(), item.path()));
            }
        }
    }
}
