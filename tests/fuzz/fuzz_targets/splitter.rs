//! The list splitter: wherever a list is cut into chunks, its names are those of a plain split.
//!
//! The first byte of the input chooses the separator, the second says how many bytes of chunk
//! lengths follow, and the rest is the list, in which [`LONG`] stands for a long run of one letter.
//! So names beyond the longest path need no long input.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmill::item::{Batch, Item, PATH_LEN_MAX, BatchSlice};
use ringmill::mill::Feed;
use ringmill::source::{Separator, Splitter};

const LONG: u8 = 0xfe;
const LONG_LEN: usize = 1365; // three make PATH_LEN_MAX

// More would only make each run slower: a long name cut into single bytes is copied many times.
const LIST_LEN_MAX: usize = 32 * 1024;
const CUTS_MAX: usize = 256;

fuzz_target!(|input: &[u8]| {
    let [separator, cut_count, rest @ ..] = input else {
        return;
    };
    let separator = match separator % 2 {
        0 => Separator::Newline,
        _ => Separator::Nul,
    };
    let (cuts, list) = rest.split_at(rest.len().min(usize::from(*cut_count)));
    let list = stretched(list);

    let names = split_in_chunks(separator, &list, cuts);
    let expected = split_plainly(separator, &list);
    assert_eq!(names.len(), expected.len(), "names were lost or invented");
    for (at, (item, expected)) in names.iter().zip(expected).enumerate() {
        assert_eq!(item.index(), at as u64);
        assert_eq!(item.bytes(), expected, "name {at}");
        let path = item.path().map(|path| path.to_bytes());
        assert_eq!(path, (!expected.contains(&0)).then_some(expected));
    }
});

fn stretched(list: &[u8]) -> Vec<u8> {
    let mut stretched = Vec::new();
    for &byte in list {
        match byte {
            LONG => stretched.extend([b'x'; LONG_LEN]),
            byte => stretched.push(byte),
        }
    }
    stretched.truncate(LIST_LEN_MAX);
    stretched
}

/// Chunks of up to 100 bytes, or larger ones, some of which are longer than a path.
fn chunk_len(cut: u8) -> usize {
    match usize::from(cut) {
        small @ 0..=100 => small,
        large => (large - 100) * 64,
    }
}

/// Feeds the splitter chunk by chunk; the lengths are used over and over. After many chunks, the rest
/// comes in one.
fn split_in_chunks(separator: Separator, list: &[u8], cuts: &[u8]) -> Vec<Item> {
    let mut splitter = Splitter::new(separator);
    let mut feed = Feed::default();
    let mut slices = Vec::new();
    let mut take = |batch: Batch| {
        feed.add(batch);
        feed.pull(usize::MAX, &mut slices);
    };
    let mut left = list;
    for &cut in cuts.iter().cycle().take(CUTS_MAX) {
        let (chunk, rest) = left.split_at(left.len().min(chunk_len(cut)));
        take(splitter.split(chunk));
        left = rest;
    }
    take(splitter.split(left));
    if let Some(last) = splitter.finish() {
        take(last);
    }
    assert!(splitter.finish().is_none(), "the last name came twice");
    slices.iter().flat_map(BatchSlice::items).collect()
}

/// The expected names: those that are too long are cut to one byte more than fits.
fn split_plainly(separator: Separator, list: &[u8]) -> Vec<&[u8]> {
    let end = match separator {
        Separator::Newline => b'\n',
        Separator::Nul => 0,
    };
    let mut names: Vec<&[u8]> = list.split(|&byte| byte == end).collect();
    if names.last().is_some_and(|last| last.is_empty()) {
        names.pop();
    }
    for name in &mut names {
        *name = &name[..name.len().min(PATH_LEN_MAX + 1)];
    }
    names
}
