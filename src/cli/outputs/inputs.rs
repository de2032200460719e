//! Files that a command reads, and that its outputs must not overwrite.

use super::place::Content;
use std::fmt;
use std::io;
use std::path::Path;

/// A file that is read, and its purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Input<'a> {
    /// A list of items.
    List(&'a Path),
    /// A list on standard input.
    Stdin,
    /// An item that is a file to hash.
    Item(&'a Path),
    /// A list of servers.
    Resolvers(&'a Path),
    /// Measurements of an earlier run.
    Measurements(&'a Path),
}

impl Input<'_> {
    /// The content that a writer would overwrite. `None` if the file is not found: then it is not read.
    pub(super) fn content(&self) -> Option<Content> {
        match self {
            Self::Stdin => Content::of_open(io::stdin()),
            Self::List(path)
            | Self::Item(path)
            | Self::Resolvers(path)
            | Self::Measurements(path) => Content::of_path(path),
        }
    }

    /// True for a list of items, which is read while the run writes.
    pub(super) fn is_list(&self) -> bool {
        matches!(self, Self::List(_) | Self::Stdin)
    }
}

impl fmt::Display for Input<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(path) => write!(f, "the list {}", path.display()),
            Self::Stdin => f.write_str("standard input"),
            Self::Item(path) | Self::Measurements(path) => {
                write!(f, "the input {}", path.display())
            }
            Self::Resolvers(path) => write!(f, "--resolvers {}", path.display()),
        }
    }
}
