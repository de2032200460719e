//! What becomes of the command when the system has no more memory for it.
//!
//! Rust's collections end the process by SIGABRT then, perhaps in the middle of a row. Here the first failure
//! gives a reserve back to the system, with which the run stops in order; only if that is not enough either,
//! the process ends at once.

use crate::sink::messages;
use rustix::io::write;
use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::time::Duration;

/// What it takes to finish what is in flight, without the threads' stacks, which they have.
const RESERVE: Layout = match Layout::from_size_align(4 * 1024 * 1024, 4096) {
    Ok(layout) => layout,
    Err(_) => unreachable!(),
};

/// Whoever asks for more than that is told that there is none, and may do without.
const SMALL_MAX: usize = 1024 * 1024;

/// How often memory is asked for again, as what is in flight gives some back.
const RETRIES: u32 = 200;
const RETRY_PAUSE: Duration = Duration::from_millis(10);

static RESERVED: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
static IS_EXHAUSTED: AtomicBool = AtomicBool::new(false);

/// The system's allocator with such a reserve.
pub struct Memory;

/// Sets the reserve aside, if there is memory for it.
pub(super) fn reserve() {
    // SAFETY: the layout's size is not 0.
    let reserve = unsafe { System.alloc(RESERVE) };
    let former = RESERVED.swap(reserve, Ordering::AcqRel);
    give_back(former);
}

/// True once there was no memory. The run is to stop.
pub(super) fn is_exhausted() -> bool {
    IS_EXHAUSTED.load(Ordering::Relaxed)
}

/// Says so.
pub(super) fn tell(rows_written: &str) {
    messages::about_run(&format_args!("out of memory; {rows_written}"));
    messages::hint(&"raise the limit (ulimit -v), or take fewer --in-flight, --window or --loops");
}

fn give_back(reserve: *mut u8) {
    if !reserve.is_null() {
        // SAFETY: it was allocated with this layout, and whoever swapped it out is the only one who has it.
        unsafe { System.dealloc(reserve, RESERVE) };
    }
}

/// The memory that `allocate` gives, now or after some tries.
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
    // Nothing here may allocate.
    let _ = write(
        rustix::stdio::stderr(),
        b"ringmill: out of memory, and there is none to stop in order\n",
    );
    signal_hook::low_level::exit(2)
}

// SAFETY: all memory comes from the system's allocator, with the layouts that the callers give, and goes back
// there. A failed call leaves the block that it was to resize as it was, so that it may be made again.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps to what the system's allocator asks for.
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
