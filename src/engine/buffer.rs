//! Read buffers, handed out and taken back, within a budget.

use std::ops::{Deref, DerefMut};

/// The two sizes of buffer. Most files are small; a large buffer for each would push one another
/// out of the processor's caches, and a small one would cut big files into too many reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BufferClass {
    /// For files that end within one read.
    Small,
    /// For the pieces of larger files.
    Large,
}

impl BufferClass {
    /// The buffer's length in bytes.
    #[must_use]
    pub const fn len_bytes(self) -> usize {
        match self {
            Self::Small => 16 * 1024,
            Self::Large => 1024 * 1024,
        }
    }
}

/// Memory that a read fills. Always initialised.
#[derive(Debug)]
pub struct Buffer {
    class: BufferClass,
    bytes: Box<[u8]>,
}

impl Buffer {
    fn new(class: BufferClass) -> Self {
        // Fresh zeroed memory: pages that no read ever reaches are never touched.
        Self {
            class,
            bytes: vec![0; class.len_bytes()].into_boxed_slice(),
        }
    }

    /// Its size class.
    #[must_use]
    pub fn class(&self) -> BufferClass {
        self.class
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

/// The buffers of one loop. The one given back last is handed out first: its memory is warm.
#[derive(Debug)]
pub struct BufferPool {
    small: Shelf,
    large: Shelf,
}

#[derive(Debug)]
struct Shelf {
    free: Vec<Buffer>,
    lent: usize,
    max: usize,
}

impl BufferPool {
    /// A pool of at most so many buffers of each class, allocated as they are first needed.
    #[must_use]
    pub fn new(small_max: usize, large_max: usize) -> Self {
        assert!(
            small_max > 0 && large_max > 0,
            "an item needs a buffer to make progress"
        );
        let shelf = |max| Shelf {
            free: Vec::new(),
            lent: 0,
            max,
        };
        Self {
            small: shelf(small_max),
            large: shelf(large_max),
        }
    }

    fn shelf(&mut self, class: BufferClass) -> &mut Shelf {
        match class {
            BufferClass::Small => &mut self.small,
            BufferClass::Large => &mut self.large,
        }
    }

    /// A buffer, unless the budget is spent.
    pub fn take(&mut self, class: BufferClass) -> Option<Buffer> {
        let shelf = self.shelf(class);
        if shelf.lent == shelf.max {
            return None;
        }
        shelf.lent += 1;
        Some(shelf.free.pop().unwrap_or_else(|| Buffer::new(class)))
    }

    /// Takes a buffer back.
    pub fn give_back(&mut self, buffer: Buffer) {
        let shelf = self.shelf(buffer.class);
        assert!(shelf.lent > 0, "a buffer came back that was never lent");
        shelf.lent -= 1;
        shelf.free.push(buffer);
    }

    /// True if a large buffer is free. Small ones never run out: each item has one at most.
    #[must_use]
    pub fn has_free(&self) -> bool {
        self.large.lent < self.large.max
    }

    /// Buffers lent out now, of both classes.
    #[must_use]
    pub fn lent(&self) -> usize {
        self.small.lent + self.large.lent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_kept() {
        let mut pool = BufferPool::new(1, 2);
        let small = pool.take(BufferClass::Small).unwrap();
        assert!(pool.take(BufferClass::Small).is_none());
        assert!(pool.take(BufferClass::Large).is_some());
        assert_eq!(pool.lent(), 2);
        pool.give_back(small);
        assert!(pool.take(BufferClass::Small).is_some());
    }
}
