//! What tells runs apart.

/// Okabe and Ito's colours, which people of every colour vision can tell apart. The palest come
/// last, as they are hard to see on white.
const COLOURS: [&str; 8] = [
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9", "#F0E442",
];

/// Lines and gaps in pixels. Each is taken with every colour before the next.
const DASHES: [Option<&str>; 5] = [
    None,
    Some("7 3"),
    Some("2 2.5"),
    Some("9 3 2 3"),
    Some("14 4"),
];

/// The marks in the terminal.
const MARKS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// The colour of the run with this place.
pub(super) fn colour(run: usize) -> &'static str {
    COLOURS[run % COLOURS.len()]
}

/// The dashes of the run with this place.
pub(super) fn dashes(run: usize) -> Option<String> {
    DASHES[run / COLOURS.len() % DASHES.len()].map(str::to_owned)
}

/// The mark of the run with this place.
pub(super) fn mark(run: usize) -> char {
    char::from(MARKS[run % MARKS.len()])
}
