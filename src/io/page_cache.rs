//! What the kernel has cached of a file.

use super::open_file::OpenFile;
use rustix::fs::fstat;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The system call number of cachestat(2), since Linux 6.5, on all processors that are supported.
const CACHESTAT: libc::c_long = 451;

/// `struct cachestat_range`: the offset and the number of the bytes in question.
#[repr(C)]
struct Range {
    offset: u64,
    len: u64,
}

/// `struct cachestat`: the numbers of pages that are cached, dirty, being written back, evicted,
/// and recently evicted.
#[repr(C)]
#[derive(Default)]
struct Counts {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// Whether all of the file's content from `offset` on, up to `len` bytes, is cached. Unlike a read
/// that does not wait, this does not start to fetch it. `None` if the kernel cannot say.
pub(super) fn is_cached(file: &OpenFile, offset: u64, len: usize) -> Option<bool> {
    static IS_UNSUPPORTED: AtomicBool = AtomicBool::new(false);
    if IS_UNSUPPORTED.load(Ordering::Relaxed) {
        return None;
    }
    let size = u64::try_from(fstat(file.as_fd()).ok()?.st_size).ok()?;
    let len = size.saturating_sub(offset).min(len as u64);
    if len == 0 {
        return Some(true);
    }
    let range = Range { offset, len };
    let mut counts = Counts::default();
    let descriptor = file.as_fd().as_raw_fd();
    // SAFETY: the kernel reads the first structure and writes the second (mm/filemap.c), which have its
    // layout and live until the call returns. The descriptor is open as long as `file` is.
    let result = unsafe {
        let counts = &raw mut counts;
        libc::syscall(CACHESTAT, descriptor, &raw const range, counts, 0)
    };
    if result != 0 {
        let errno = std::io::Error::last_os_error().raw_os_error();
        IS_UNSUPPORTED.fetch_or(errno == Some(libc::ENOSYS), Ordering::Relaxed);
        return None;
    }
    let page_bytes = rustix::param::page_size() as u64;
    let pages = (offset + len).div_ceil(page_bytes) - offset / page_bytes;
    Some(counts.cached >= pages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::FileSystem;
    use std::io::{Seek, SeekFrom, Write};

    #[test]
    fn holes_that_were_never_read_are_not_in_memory() {
        let mut file = tempfile::tempfile().unwrap();
        let open = OpenFile::new(file.try_clone().unwrap().into(), FileSystem::Nowait);
        if is_cached(&open, 0, 1 << 20).is_none() {
            eprintln!("left out: this kernel has no cachestat(2)");
            return;
        }
        assert_eq!(is_cached(&open, 0, 1 << 20), Some(true));
        file.seek(SeekFrom::Start(1 << 20)).unwrap();
        file.write_all(&[1; 10_000]).unwrap();
        assert_eq!(is_cached(&open, 1 << 20, 1 << 20), Some(true));
        assert_eq!(is_cached(&open, (1 << 20) + 5000, 100), Some(true));
        assert_eq!(is_cached(&open, 1 << 30, 100), Some(true));
        assert_eq!(is_cached(&open, (1 << 20) - 1, 2), Some(false));
        assert_eq!(is_cached(&open, 0, 1), Some(false));
    }
}
