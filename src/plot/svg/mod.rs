//! The picture.

mod frame;
mod legend;
mod panels;

use super::Run;
use super::labels::{printable, shorten};
use super::phases::phases;
use frame::{PANEL_HEIGHT, PANEL_WIDTH};
use kuva::backend::svg::SvgBackend;
use kuva::render::render::{Primitive, Scene, TextAnchor};

/// The first of these that there is. Widths are reckoned for the first, a wide one.
const FONTS: &str = "DejaVu Sans, Verdana, Liberation Sans, Arial, sans-serif";
const TEXT_SIZE: u32 = 12;
const EDGE: f64 = 12.0;
const WIDTH: f64 = 2.0 * PANEL_WIDTH + 2.0 * EDGE;

/// Draws the runs as SVG: a legend, and for each phase a row with its spectrum and its histogram.
#[must_use]
pub fn svg(runs: &[Run]) -> String {
    let phases = phases(runs);
    let legend = legend::legend(runs);
    let top = 2.0 * EDGE + legend.height;
    let mut scene = Scene::new(WIDTH, top + phases.len() as f64 * PANEL_HEIGHT + EDGE);
    scene.font_family = Some(FONTS.to_owned());
    scene.elements = legend.elements;
    for (row, phase) in phases.iter().enumerate() {
        let y = top + row as f64 * PANEL_HEIGHT;
        add_panel(&mut scene, EDGE, y, panels::spectrum(phase));
        add_panel(
            &mut scene,
            EDGE + PANEL_WIDTH,
            y,
            panels::histogram(phase, runs),
        );
    }
    SvgBackend::new().with_pretty(true).render_scene(&scene)
}

fn add_panel(scene: &mut Scene, x: f64, y: f64, panel: Scene) {
    let transform = Some(format!("translate({x},{y})"));
    scene.add(Primitive::GroupStart {
        transform,
        title: None,
        extra_attrs: None,
    });
    scene.elements.extend(panel.elements);
    scene.add(Primitive::GroupEnd);
}

fn text(x: f64, y: f64, content: &str, anchor: TextAnchor, rotate: Option<f64>) -> Primitive {
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

/// A label from outside, fit to be drawn.
fn label(label: &str, width_max: f64, size: u32) -> String {
    let label = shorten(&printable(label), width_max, |c| character_width(c, size));
    // kuva takes what stands between two dollar signs for a formula.
    label.replace('$', "\\$")
}

pub(super) fn text_width(text: &str) -> f64 {
    text.chars().map(|c| character_width(c, TEXT_SIZE)).sum()
}

/// At least the width of a character, but for a few ligatures. The font is not at hand to measure
/// it.
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
