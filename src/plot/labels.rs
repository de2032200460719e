//! Makes labels printable and short. They come from file names and may contain any character.

use crate::escape::is_obeyed;

/// Replaces characters that control a terminal, that reorder text, or that XML forbids.
pub(super) fn printable(label: &str) -> String {
    let printable = |c| match c {
        '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
        c if is_obeyed(c) => '\u{fffd}',
        c => c,
    };
    label.chars().map(printable).collect()
}

/// Removes characters from the middle until the rest fits: names usually differ at their beginning or
/// end.
pub(super) fn shorten(label: &str, width_max: f64, width_of: impl Fn(char) -> f64) -> String {
    let width = |text: &[char]| text.iter().copied().map(&width_of).sum::<f64>();
    let chars: Vec<char> = label.chars().collect();
    if width(&chars) <= width_max {
        return label.to_owned();
    }
    let half = (width_max - width_of('…')) / 2.0;
    let fitting = |chars: &mut dyn Iterator<Item = &char>| {
        let mut used = 0.0;
        chars
            .take_while(|&&c| {
                used += width_of(c);
                used <= half
            })
            .count()
    };
    let head = fitting(&mut chars.iter());
    let tail = fitting(&mut chars.iter().rev());
    chars[..head]
        .iter()
        .chain(&['…'])
        .chain(&chars[chars.len() - tail..])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_printable_is_replaced() {
        assert_eq!(
            printable("a\u{1b}[31m\n\0b\u{202e}µ"),
            "a\u{fffd}[31m\u{fffd}\u{fffd}b\u{fffd}µ"
        );
        assert_eq!(printable("plain <&> 漢"), "plain <&> 漢");
    }

    #[test]
    fn the_middle_is_left_out() {
        assert_eq!(shorten("abcdefghij", 10.0, |_| 1.0), "abcdefghij");
        assert_eq!(shorten("abcdefghijk", 7.0, |_| 1.0), "abc…ijk");
        assert_eq!(shorten("abc", 0.0, |_| 1.0), "…");
    }
}
