//! Draws the runs as SVG.

mod frame;
mod legend;
mod panels;
mod text;

#[cfg(test)]
pub(super) use text::text_width;

use super::Run;
use super::phases::phases;
use frame::{EDGE, PANEL_HEIGHT, PANEL_WIDTH, WIDTH};
use kuva::backend::svg::SvgBackend;
use kuva::render::render::{Primitive, Scene};

/// The viewer uses the first font that it has. Widths are computed for the first, which is wide.
const FONTS: &str = "DejaVu Sans, Verdana, Liberation Sans, Arial, sans-serif";

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
