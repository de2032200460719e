//! Read buffers of one loop, within a budget.

use super::permits::{Acquire, Permit, Semaphore};
use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

/// The two sizes of buffers. Most files are small: a large buffer for each would evict the others
/// from the processor's caches. For large files, a small buffer would need too many reads.
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

/// Memory that a read fills. Always initialised. Dropping it gives it back to its pool.
#[derive(Debug)]
pub struct Buffer {
    /// Empty only while it is dropped.
    bytes: Box<[u8]>,
    lists: Rc<RefCell<FreeLists>>,
    /// Large buffers have one.
    permit: Option<Permit>,
}

impl Buffer {
    /// Its size class.
    #[must_use]
    pub fn class(&self) -> BufferClass {
        match self.permit {
            None => BufferClass::Small,
            Some(_) => BufferClass::Large,
        }
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

impl Drop for Buffer {
    fn drop(&mut self) {
        let class = self.class();
        let mut lists = self.lists.borrow_mut();
        lists.lent -= 1;
        lists.free(class).push(std::mem::take(&mut self.bytes));
    }
}

/// The buffers of one loop. The buffer returned last is lent first, because its memory is still in
/// the processor's caches. Cheap to clone; clones share the buffers.
#[derive(Clone, Debug)]
pub struct BufferPool {
    lists: Rc<RefCell<FreeLists>>,
    /// Limits the large buffers. Small ones need no limit: each item has one at most.
    large: Semaphore,
    large_max: usize,
}

#[derive(Debug, Default)]
struct FreeLists {
    small: Vec<Box<[u8]>>,
    large: Vec<Box<[u8]>>,
    lent: usize,
}

impl FreeLists {
    fn free(&mut self, class: BufferClass) -> &mut Vec<Box<[u8]>> {
        match class {
            BufferClass::Small => &mut self.small,
            BufferClass::Large => &mut self.large,
        }
    }
}

impl BufferPool {
    /// A pool with at most `large_max` large buffers, allocated when they are first needed.
    #[must_use]
    pub fn new(large_max: usize) -> Self {
        assert!(large_max > 0, "an item needs a buffer to make progress");
        Self {
            lists: Rc::default(),
            large: Semaphore::new(large_max),
            large_max,
        }
    }

    /// A small buffer.
    #[must_use]
    pub fn small(&self) -> Buffer {
        self.lend(None)
    }

    /// Waits for a permit for [`BufferPool::large`], in the order of the calls.
    pub fn large_permit(&self) -> Acquire {
        self.large.acquire()
    }

    /// A large buffer for a permit.
    #[must_use]
    pub fn large(&self, permit: Permit) -> Buffer {
        self.lend(Some(permit))
    }

    /// A large buffer, if one is free and no task waits for one.
    #[must_use]
    pub fn spare_large(&self) -> Option<Buffer> {
        self.large.try_acquire().map(|permit| self.large(permit))
    }

    /// Buffers lent out now, of both classes.
    #[must_use]
    pub fn lent(&self) -> usize {
        self.lists.borrow().lent
    }

    /// Large buffers lent out now, or granted to waiting tasks.
    #[must_use]
    pub fn large_taken(&self) -> usize {
        self.large_max - self.large.free()
    }

    fn lend(&self, permit: Option<Permit>) -> Buffer {
        let class = match permit {
            None => BufferClass::Small,
            Some(_) => BufferClass::Large,
        };
        let mut lists = self.lists.borrow_mut();
        lists.lent += 1;
        let free = lists.free(class).pop();
        // Zeroed memory from the allocator: pages that no read reaches are never touched.
        let new = || vec![0; class.len_bytes()].into_boxed_slice();
        Buffer {
            bytes: free.unwrap_or_else(new),
            lists: Rc::clone(&self.lists),
            permit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_kept() {
        let pool = BufferPool::new(1);
        let small = pool.small();
        let large = pool.spare_large().expect("one is free");
        assert!(pool.spare_large().is_none());
        assert_eq!(pool.lent(), 2);
        drop(small);
        drop(large);
        assert_eq!(pool.lent(), 0);
        assert!(pool.spare_large().is_some());
    }
}
