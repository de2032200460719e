//! A disk that is full soon.

use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

use super::require_root;

/// A mounted tmpfs. Unmounts on drop.
pub struct SmallDisk(TempDir);

impl SmallDisk {
    pub fn new(size_kib: u32) -> Self {
        require_root();
        let dir = tempfile::tempdir().expect("temporary directory");
        let options = std::ffi::CString::new(format!("size={size_kib}k")).expect("no NUL");
        let flags = MountFlags::empty();
        mount(c"tmpfs", dir.path(), c"tmpfs", flags, options.as_c_str()).expect("mount a tmpfs");
        SmallDisk(dir)
    }

    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = unmount(self.0.path(), UnmountFlags::DETACH);
    }
}
