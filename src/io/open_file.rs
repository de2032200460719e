//! Open files and sockets, real or simulated.

use super::mounts::FileSystem;
use crate::error::Errno;
use std::any::Any;
use std::fmt::Debug;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

/// An open file or socket of a simulation.
pub(crate) trait Simulated: Any + Debug {
    /// Closes it.
    fn close(self: Box<Self>) -> Result<(), Errno>;

    /// Lets the simulation get its own type back.
    fn as_any(&self) -> &dyn Any;
}

/// An open descriptor and what its file system can do. It is closed with the last share, so an
/// operation that holds a share never uses a reused descriptor number.
#[derive(Debug)]
pub struct OpenFile {
    pub(crate) handle: Handle,
    pub(crate) file_system: FileSystem,
    /// Dropped once it is closed: after `handle`, because fields are dropped in the order of their declaration.
    #[expect(dead_code, reason = "only dropped")]
    pub(crate) until_closed: Option<Rc<dyn Any>>,
}

/// The kind of an open file: real or simulated.
#[derive(Debug)]
pub(crate) enum Handle {
    Descriptor(OwnedFd),
    Simulated(Box<dyn Simulated>),
}

impl OpenFile {
    pub(crate) fn new(descriptor: OwnedFd, file_system: FileSystem) -> Self {
        Self {
            handle: Handle::Descriptor(descriptor),
            file_system,
            until_closed: None,
        }
    }

    /// Closes it. The kernel reports nothing of interest about a descriptor that was only read.
    pub(super) fn close(self) -> Result<(), Errno> {
        match self.handle {
            Handle::Descriptor(descriptor) => {
                drop(descriptor);
                Ok(())
            }
            Handle::Simulated(open) => open.close(),
        }
    }
}

impl AsFd for OpenFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.handle {
            Handle::Descriptor(descriptor) => descriptor.as_fd(),
            Handle::Simulated(_) => unreachable!("simulated files stay in the simulation"),
        }
    }
}
