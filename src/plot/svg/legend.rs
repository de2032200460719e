//! The legend.

use super::frame::{EDGE, WIDTH};
use super::text::{TEXT_SIZE, label, text, text_width};
use crate::plot::Run;
use crate::plot::style::{colour, dashes};
use kuva::render::render::{Primitive, TextAnchor};

const SWATCH_WIDTH: f64 = 34.0;
const ROW_HEIGHT: f64 = 20.0;
const SWATCH_GAP: f64 = 8.0;
const COLUMN_GAP: f64 = 24.0;
const COLUMNS: usize = 8;
const LABEL_WIDTH_MAX: f64 = 700.0;

pub(super) struct Legend {
    pub elements: Vec<Primitive>,
    pub height: f64,
}

/// The label and count of each run. They are aligned to columns; an entry may take several columns.
pub(super) fn legend(runs: &[Run]) -> Legend {
    let column_width = (WIDTH - 4.0 * EDGE) / COLUMNS as f64;
    let (mut row, mut column) = (0, 0);
    let mut elements = Vec::new();
    for (run, entry) in runs.iter().map(entry).enumerate() {
        let width = SWATCH_WIDTH + SWATCH_GAP + text_width(&entry) + COLUMN_GAP;
        let columns = ((width / column_width).ceil() as usize).min(COLUMNS);
        if column + columns > COLUMNS {
            (row, column) = (row + 1, 0);
        }
        let x = 2.0 * EDGE + column as f64 * column_width;
        let y = EDGE + (row as f64 + 0.5) * ROW_HEIGHT;
        elements.push(Primitive::Line {
            x1: x,
            y1: y,
            x2: x + SWATCH_WIDTH,
            y2: y,
            stroke: colour(run).into(),
            stroke_width: 3.0,
            stroke_dasharray: dashes(run),
        });
        let (x, y) = (
            x + SWATCH_WIDTH + SWATCH_GAP,
            y + 0.36 * f64::from(TEXT_SIZE),
        );
        elements.push(text(x, y, &entry, TextAnchor::Start, None));
        column += columns;
    }
    Legend {
        elements,
        height: (row + 1) as f64 * ROW_HEIGHT,
    }
}

fn entry(run: &Run) -> String {
    let label = label(&run.label, LABEL_WIDTH_MAX, TEXT_SIZE);
    format!("{label} {}", run.count_label())
}
