//! Colours, dashes and marks that distinguish runs.

/// The colours of Okabe and Ito, which people with colour blindness can distinguish. The palest come last,
/// as they are hard to see on white.
const COLOURS: [&str; 8] = [
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9", "#F0E442",
];

/// Dashes and gaps in pixels. Each pattern is used with all colours before the next one.
const DASHES: [Option<&str>; 5] = [
    None,
    Some("7 3"),
    Some("2 2.5"),
    Some("9 3 2 3"),
    Some("14 4"),
];

/// The letters and digits that stand for runs in a terminal.
const MARKS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// The colour of the run with this index.
pub(super) fn colour(run: usize) -> &'static str {
    COLOURS[run % COLOURS.len()]
}

/// The dashes of the run with this index.
pub(super) fn dashes(run: usize) -> Option<String> {
    DASHES[run / COLOURS.len() % DASHES.len()].map(str::to_owned)
}

/// The mark of the run with this index.
pub(super) fn mark(run: usize) -> char {
    char::from(MARKS[run % MARKS.len()])
}
