//! A diagram: its axes and its curves.
//!
//! Only parts of kuva are used: layout, axes and shapes. Its function for whole plots would make the binary
//! 2 MB larger, because it links every kind of plot.

use super::text::{TEXT_SIZE, text};
use crate::plot::style::{colour, dashes};
use kuva::TickFormat;
use kuva::render::axis::{add_axes_and_grid, add_labels_and_title};
use kuva::render::layout::{AxisLabelOverlap, ComputedLayout, Layout};
use kuva::render::render::{PathData, Primitive, Scene, TextAnchor, build_path};
use kuva::render::theme::Theme;
use std::sync::Arc;

pub(super) const PANEL_WIDTH: f64 = 600.0;
pub(super) const EDGE: f64 = 12.0;
pub(super) const WIDTH: f64 = 2.0 * PANEL_WIDTH + 2.0 * EDGE;
pub(super) const PANEL_HEIGHT: f64 = 314.0;
const LEFT: f64 = 100.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 52.0;
pub(super) const PLOT_WIDTH: f64 = PANEL_WIDTH - LEFT - RIGHT;
const PLOT_HEIGHT: f64 = PANEL_HEIGHT - TOP - BOTTOM;
const MIDDLE_X: f64 = LEFT + PLOT_WIDTH / 2.0;
const MIDDLE_Y: f64 = TOP + PLOT_HEIGHT / 2.0;
const X_LABEL_Y: f64 = PANEL_HEIGHT - 16.0;
const Y_LABEL_X: f64 = 22.0;

pub(super) const TITLE_SIZE: u32 = 15;
pub(super) const NOTE_SIZE: u32 = 11;
const TICK_SIZE: u32 = 11;
/// From the top of a tick's label to its baseline, as kuva has it.
const TICK_ASCENT: f64 = 0.93 * TICK_SIZE as f64;
const GRID: &str = "#e4e4e4";
const TICK: &str = "black";
const LINE_WIDTH: f64 = 1.8;
const DOT_RADIUS: f64 = 3.0;

/// The label of a tick.
pub(super) type FormatTick = Arc<dyn Fn(f64) -> String + Send + Sync>;

/// An axis: its label, its range, and the labels of its ticks.
pub(super) struct Axis {
    pub label: &'static str,
    pub low: f64,
    pub high: f64,
    pub logarithmic: bool,
    pub format_tick: FormatTick,
}

/// A diagram, at first without curves.
pub(super) struct Frame {
    pub scene: Scene,
    computed: ComputedLayout,
}

impl Frame {
    /// Draws the axes. Without `x_step`, kuva chooses the ticks of `x`.
    pub fn new(
        title: String,
        note: Option<String>,
        x: &Axis,
        y: &Axis,
        x_step: Option<f64>,
    ) -> Self {
        let mut layout = layout(title)
            .with_x_axis_min(x.low)
            .with_x_axis_max(x.high)
            .with_y_axis_min(y.low)
            .with_y_axis_max(y.high)
            .with_x_label_overlap(AxisLabelOverlap::Thin)
            .with_x_tick_format(TickFormat::Custom(Arc::clone(&x.format_tick)))
            .with_y_tick_format(TickFormat::Custom(Arc::clone(&y.format_tick)));
        (layout.log_x, layout.log_y) = (x.logarithmic, y.logarithmic);
        (layout.x_tick_step, layout.subtitle) = (x_step, note);
        let computed = ComputedLayout::from_layout(&layout);
        let mut scene = Scene::new(PANEL_WIDTH, PANEL_HEIGHT);
        add_axes_and_grid(&mut scene, &computed, &layout);
        add_labels_and_title(&mut scene, &computed, &layout);
        // kuva would place these by the length of its own tick labels, not of ours.
        scene.add(text(MIDDLE_X, X_LABEL_Y, x.label, TextAnchor::Middle, None));
        scene.add(text(
            Y_LABEL_X,
            MIDDLE_Y,
            y.label,
            TextAnchor::Middle,
            Some(-90.0),
        ));
        Self { scene, computed }
    }

    /// Adds a tick to the `x` axis.
    pub fn x_tick(&mut self, at: f64, label: &str) {
        let x = self.computed.map_x(at);
        let bottom = TOP + PLOT_HEIGHT;
        let mark_end = bottom + self.computed.tick_mark_major;
        for (y1, y2, stroke) in [(TOP, bottom, GRID), (bottom, mark_end, TICK)] {
            self.scene.add(Primitive::Line {
                x1: x,
                y1,
                x2: x,
                y2,
                stroke: stroke.into(),
                stroke_width: self.computed.tick_stroke_width,
                stroke_dasharray: None,
            });
        }
        self.scene.add(Primitive::Text {
            x,
            y: mark_end + TICK_ASCENT,
            content: label.to_owned(),
            size: TICK_SIZE,
            anchor: TextAnchor::Middle,
            rotate: None,
            bold: false,
            color: None,
        });
    }

    fn places(&self, points: &[(f64, f64)]) -> Vec<(f64, f64)> {
        let place = |&(x, y): &(f64, f64)| (self.computed.map_x(x), self.computed.map_y(y));
        points.iter().map(place).collect()
    }

    /// Draws the line of a run.
    pub fn line(&mut self, run: usize, points: &[(f64, f64)]) {
        self.scene.add(Primitive::PolyLine {
            points: self.places(points),
            stroke: colour(run).into(),
            stroke_width: LINE_WIDTH,
            stroke_dasharray: dashes(run),
        });
    }

    /// Draws the dots of a run.
    pub fn dots(&mut self, run: usize, points: &[(f64, f64)]) {
        let (cx, cy) = self.places(points).into_iter().unzip();
        self.scene.add(Primitive::CircleBatch {
            cx,
            cy,
            r: DOT_RADIUS,
            fill: colour(run).into(),
            fill_opacity: None,
            stroke: None,
            stroke_width: None,
        });
    }

    /// Fills the area that the line of a run encloses.
    pub fn area(&mut self, run: usize, points: &[(f64, f64)], opacity: f64) {
        self.scene.add(Primitive::Path(Box::new(PathData {
            d: build_path(&self.places(points)) + "Z",
            fill: Some(colour(run).into()),
            stroke: "none".into(),
            stroke_width: 0.0,
            opacity: Some(opacity),
            stroke_dasharray: None,
        })));
    }
}

/// A panel with a message in place of a diagram.
pub(super) fn message(title: String, message: &str) -> Scene {
    let layout = layout(title);
    let mut scene = Scene::new(PANEL_WIDTH, PANEL_HEIGHT);
    add_labels_and_title(&mut scene, &ComputedLayout::from_layout(&layout), &layout);
    scene.add(text(MIDDLE_X, MIDDLE_Y, message, TextAnchor::Middle, None));
    scene
}

/// All diagrams have the same margins, so that they align.
fn layout(title: String) -> Layout {
    let theme = Theme {
        grid_color: GRID.to_owned(),
        ..Theme::light()
    };
    Layout::new((0.0, 1.0), (0.0, 1.0))
        .with_theme(theme)
        .with_width(PANEL_WIDTH)
        .with_height(PANEL_HEIGHT)
        .with_force_margins(LEFT, RIGHT)
        .with_force_margins_y(TOP, BOTTOM)
        .with_title(title)
        .with_title_size(TITLE_SIZE)
        .with_subtitle_size(NOTE_SIZE)
        .with_label_size(TEXT_SIZE)
        .with_tick_size(TICK_SIZE)
}
