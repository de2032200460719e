//! Stops the command in order when the system has no more memory.
//!
//! Without this, Rust's collections abort the process (SIGABRT), perhaps in the middle of a row. Here, the
//! first failed allocation returns a reserve to the system, so that the run can stop in order. If that is
//! not enough either, the process ends at once.

use crate::sink::messages;
use rustix::io::write;
use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::time::Duration;

/// Enough memory to finish the items in flight. The stacks of the threads are already allocated.
const RESERVE: Layout = match Layout::from_size_align(4 * 1024 * 1024, 4096) {
    Ok(layout) => layout,
    Err(_) => unreachable!(),
};

/// A larger allocation fails at once: its caller may be able to continue without it.
const SMALL_MAX: usize = 1024 * 1024;

/// Retries of an allocation, while items in flight finish and free memory.
const RETRIES: u32 = 200;
const RETRY_PAUSE: Duration = Duration::from_millis(10);

static RESERVED: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
static IS_EXHAUSTED: AtomicBool = AtomicBool::new(false);

/// The system's allocator with this reserve.
pub struct Memory;

/// Allocates the reserve, if there is memory for it.
pub(super) fn reserve() {
    // SAFETY: the layout's size is not 0.
    let reserve = unsafe { System.alloc(RESERVE) };
    let former = RESERVED.swap(reserve, Ordering::AcqRel);
    give_back(former);
}

/// True once an allocation has failed; the run has to stop.
pub(super) fn is_exhausted() -> bool {
    IS_EXHAUSTED.load(Ordering::Relaxed)
}

/// Reports that the run has stopped for lack of memory.
pub(super) fn report(rows_written: &str) {
    messages::about_run(&format_args!("out of memory; {rows_written}"));
    messages::hint(&"raise the limit (ulimit -v), or lower --in-flight, --window or --loops");
}

fn give_back(reserve: *mut u8) {
    if !reserve.is_null() {
        // SAFETY: it was allocated with this layout, and only the caller that swapped it out has the pointer.
        unsafe { System.dealloc(reserve, RESERVE) };
    }
}

/// The result of `allocate`, at once or after retries.
fn allocate(size: usize, allocate: impl Fn() -> *mut u8) -> *mut u8 {
    let block = allocate();
    match block.is_null() {
        false => block,
        true => try_again(size, allocate),
    }
}

#[cold]
fn try_again(size: usize, allocate: impl Fn() -> *mut u8) -> *mut u8 {
    if size > SMALL_MAX {
        return ptr::null_mut();
    }
    IS_EXHAUSTED.store(true, Ordering::Relaxed);
    give_back(RESERVED.swap(ptr::null_mut(), Ordering::AcqRel));
    for _ in 0..RETRIES {
        let block = allocate();
        if !block.is_null() {
            return block;
        }
        std::thread::sleep(RETRY_PAUSE);
    }
    // Allocating is not possible here.
    let _ = write(
        rustix::stdio::stderr(),
        b"ringmill: out of memory, even for stopping in order\n",
    );
    signal_hook::low_level::exit(2)
}

// SAFETY: all memory comes from the system's allocator and returns to it, with the layouts that the callers
// give. A failed reallocation leaves its block unchanged, so it may be retried.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller upholds the contract of `GlobalAlloc`, which the system's allocator has, too.
        allocate(layout.size(), || unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        allocate(layout.size(), || unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        allocate(size, || unsafe { System.realloc(block, layout, size) })
    }
}
