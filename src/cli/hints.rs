//! Hints for items that fail, if a remedy is known. Each hint is given once per run.

use super::arguments::StreamArguments;
use crate::error::{Cause, ItemError};

/// Hints that have not been given yet.
pub(super) struct Hints {
    /// The items are lines of lists: not arguments, and not separated by NUL.
    items_are_lines: bool,
    given: Vec<Hint>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hint {
    NulSeparated,
    CarriageReturns,
    Directories,
}

impl Hints {
    /// Hints for a run whose items are arguments or, without any, are read from lists.
    pub(super) fn new(has_item_arguments: bool, arguments: &StreamArguments) -> Self {
        Self {
            items_are_lines: !has_item_arguments && !arguments.null,
            given: Vec::new(),
        }
    }

    /// A hint for a file that failed.
    pub(super) fn about_file(&mut self, name: &[u8], error: &ItemError) -> Option<&'static str> {
        let errno = error.as_errno().map(|errno| errno.raw());
        let hint = match errno {
            _ if error.cause == Cause::NulInName => return self.about_line(name),
            Some(libc::ENOENT) if self.items_are_lines && name.ends_with(b"\r") => {
                Hint::CarriageReturns
            }
            Some(libc::EISDIR) => Hint::Directories,
            _ => return None,
        };
        self.give(hint)
    }

    /// A hint for a line that is invalid.
    pub(super) fn about_line(&mut self, line: &[u8]) -> Option<&'static str> {
        let is_list = self.items_are_lines && line.contains(&0);
        is_list.then(|| self.give(Hint::NulSeparated)).flatten()
    }

    fn give(&mut self, hint: Hint) -> Option<&'static str> {
        if self.given.contains(&hint) {
            return None;
        }
        self.given.push(hint);
        Some(match hint {
            Hint::NulSeparated => "the list is separated by NUL bytes; use -0",
            Hint::CarriageReturns => {
                "the lines of the list end with CR LF; `tr -d '\\r'` or dos2unix removes the CR"
            }
            Hint::Directories => {
                "`find DIR -type f -print0 | ringmill hash -0` hashes the files of a directory"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Errno, Operation};

    fn hints(items_are_lines: bool) -> Hints {
        Hints {
            items_are_lines,
            given: Vec::new(),
        }
    }

    #[test]
    fn each_hint_is_given_once() {
        let mut hints = hints(true);
        let missing = ItemError::errno(Operation::Open, Errno::new(libc::ENOENT));
        let directory = ItemError::errno(Operation::Read, Errno::new(libc::EISDIR));
        assert_eq!(hints.about_file(b"a", &missing), None);
        assert!(
            hints
                .about_file(b"a\r", &missing)
                .unwrap()
                .contains("CR LF")
        );
        assert!(hints.about_file(b"a", &directory).unwrap().contains("find"));
        assert_eq!(hints.about_file(b"a\r", &missing), None);
        assert_eq!(hints.about_file(b"a", &directory), None);
        assert!(hints.about_line(b"a\0b").unwrap().contains("-0"));
        assert_eq!(hints.about_line(b"a\0b"), None);
        assert_eq!(hints.about_line(b"a b c"), None);
    }

    /// An argument may end with a carriage return: it is not a line of a list.
    #[test]
    fn arguments_and_nul_separated_lists_have_no_lines() {
        let missing = ItemError::errno(Operation::Open, Errno::new(libc::ENOENT));
        assert_eq!(hints(false).about_file(b"a\r", &missing), None);
        assert_eq!(hints(false).about_line(b"a\0b"), None);
    }
}
