//! Splits a stream of bytes into names: a pure parser, fed chunk by chunk.

use crate::item::{Batch, PATH_LEN_MAX};

/// What ends a name in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Separator {
    /// A newline.
    Newline,
    /// A NUL byte, as from `find -print0`.
    Nul,
}

impl Separator {
    fn byte(self) -> u8 {
        match self {
            Self::Newline => b'\n',
            Self::Nul => 0,
        }
    }
}

/// The bytes kept of a name that is too long to be a path: one more than a path may have, which marks it as
/// too long.
const KEPT_LEN_MAX: usize = PATH_LEN_MAX + 1;

/// Splits chunks into batches of names and keeps the unfinished last name for the next chunk.
///
/// A name of more than [`PATH_LEN_MAX`] bytes cannot be a path. Only its first `PATH_LEN_MAX + 1`
/// bytes are kept, so that a list without any separator needs no more memory than one with separators.
#[derive(Debug)]
pub struct Splitter {
    separator: Separator,
    /// The unfinished name at the end of the last chunk.
    carry: Vec<u8>,
}

impl Splitter {
    /// A splitter at the beginning of a list.
    #[must_use]
    pub fn new(separator: Separator) -> Self {
        Self {
            separator,
            carry: Vec::new(),
        }
    }

    /// Takes the next chunk; returns the names that ended in it, perhaps none.
    pub fn split(&mut self, chunk: &[u8]) -> Batch {
        let mut bytes = Vec::with_capacity(self.carry.len() + chunk.len() + 1);
        let mut ends = Vec::with_capacity(chunk.len() / 32);
        bytes.append(&mut self.carry);
        let mut start = 0;
        for end in memchr::memchr_iter(self.separator.byte(), chunk) {
            append_capped(&mut bytes, &ends, &chunk[start..end]);
            ends.push(u32::try_from(bytes.len()).expect("a chunk holds less than 4 GiB"));
            bytes.push(0);
            start = end + 1;
        }
        append_capped(&mut bytes, &ends, &chunk[start..]);
        let carry_start = ends.last().map_or(0, |&end| end as usize + 1);
        self.carry.extend_from_slice(&bytes[carry_start..]);
        bytes.truncate(carry_start);
        Batch::from_parts(bytes, ends)
    }

    /// The last name, if the list did not end with a separator.
    pub fn finish(&mut self) -> Option<Batch> {
        if self.carry.is_empty() {
            return None;
        }
        Some(Batch::from_iter([std::mem::take(&mut self.carry)]))
    }
}

/// Appends to the unfinished name at the end of `bytes`, but not beyond [`KEPT_LEN_MAX`] bytes.
fn append_capped(bytes: &mut Vec<u8>, ends: &[u32], piece: &[u8]) {
    let name_start = ends.last().map_or(0, |&end| end as usize + 1);
    let room = KEPT_LEN_MAX - (bytes.len() - name_start);
    bytes.extend_from_slice(&piece[..piece.len().min(room)]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Item;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn names(batch: Batch) -> Vec<Vec<u8>> {
        let batch = Arc::new(batch);
        let count = u32::try_from(batch.len()).unwrap();
        (0..count)
            .map(|at| Item::new(Arc::clone(&batch), at).bytes().to_vec())
            .collect()
    }

    fn split_in_chunks(separator: Separator, list: &[u8], chunk_len: usize) -> Vec<Vec<u8>> {
        let mut splitter = Splitter::new(separator);
        let mut all = Vec::new();
        for chunk in list.chunks(chunk_len) {
            all.extend(names(splitter.split(chunk)));
        }
        all.extend(splitter.finish().map(names).into_iter().flatten());
        all
    }

    #[test]
    fn empty_lines_are_items_and_the_last_line_may_lack_its_newline() {
        let split = split_in_chunks(Separator::Newline, b"a\n\nb\r\n\0\nc", 3);
        assert_eq!(split, [&b"a"[..], b"", b"b\r", b"\0", b"c"]);
    }

    #[test]
    fn an_empty_list_has_no_items() {
        assert!(split_in_chunks(Separator::Newline, b"", 1).is_empty());
    }

    #[test]
    fn nul_lists_keep_newlines() {
        assert_eq!(
            split_in_chunks(Separator::Nul, b"a\nb\0c\0", 2),
            [&b"a\nb"[..], b"c"]
        );
    }

    #[test]
    fn a_name_without_end_is_cut_just_beyond_the_longest_path() {
        let mut list = vec![b'x'; 1 << 20];
        list.extend_from_slice(b"\nnext\n");
        let split = split_in_chunks(Separator::Newline, &list, 65536);
        assert_eq!(split.len(), 2);
        assert_eq!(split[0].len(), PATH_LEN_MAX + 1);
        assert_eq!(split[1], b"next");
    }

    proptest! {
        /// Wherever the chunks are cut, the names are those of a plain split.
        #[test]
        fn any_chunking_gives_the_same_names(
            list in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(0), any::<u8>()], 0..400),
            chunk_len in 1_usize..50,
            nul in any::<bool>(),
        ) {
            let separator = if nul { Separator::Nul } else { Separator::Newline };
            let mut expected: Vec<Vec<u8>> =
                list.split(|&byte| byte == separator.byte()).map(<[u8]>::to_vec).collect();
            if expected.last().is_some_and(Vec::is_empty) {
                expected.pop();
            }
            prop_assert_eq!(split_in_chunks(separator, &list, chunk_len), expected);
        }
    }
}
