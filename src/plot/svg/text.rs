//! Text, and the room it takes.

use crate::plot::labels::{printable, shorten};
use kuva::render::render::{Primitive, TextAnchor};

/// The size of plain text, in pixels.
pub(super) const TEXT_SIZE: u32 = 12;

pub(super) fn text(
    x: f64,
    y: f64,
    content: &str,
    anchor: TextAnchor,
    rotate: Option<f64>,
) -> Primitive {
    let (content, size) = (content.to_owned(), TEXT_SIZE);
    Primitive::Text {
        x,
        y,
        content,
        size,
        anchor,
        rotate,
        bold: false,
        color: None,
    }
}

pub(in crate::plot) fn text_width(text: &str) -> f64 {
    text.chars().map(|c| character_width(c, TEXT_SIZE)).sum()
}

/// An upper bound for the width of a character, except for a few ligatures. The font is not available for
/// measuring.
fn character_width(c: char, size: u32) -> f64 {
    let ems = match c {
        ' ' | '\'' | ',' | '.' | '/' | ':' | ';' | 'I' | 'i' | 'j' | 'l' | '|' => 0.36,
        '!' | '(' | ')' | '-' | 'f' | 'r' | 't' => 0.42,
        'a'..='l' | 'n'..='v' | 'x'..='z' | '0'..='9' | '_' => 0.65,
        'A'..='L' | 'N'..='V' | 'X'..='Z' | 'w' => 0.82,
        _ => 1.03,
    };
    ems * f64::from(size)
}

/// A label from a file name, made printable and short enough.
pub(super) fn label(label: &str, width_max: f64, size: u32) -> String {
    let label = shorten(&printable(label), width_max, |c| character_width(c, size));
    // kuva would parse text between two dollar signs as a formula.
    label.replace('$', "\\$")
}
