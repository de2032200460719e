//! Whole drawings, as SVG and as text, of usual and of unusual latencies.

use super::*;
use proptest::prelude::*;
use roxmltree::{Document, Node};
use unicode_width::UnicodeWidthStr;

const HOUR_NS: u64 = 3_600_000_000_000;

fn buckets(counts: &[(u64, u64)]) -> Distribution {
    let mut histogram = Histogram::new(2).unwrap();
    for &(ns, count) in counts {
        histogram.record_n(ns, count).unwrap();
    }
    Distribution::Buckets(histogram)
}

fn percentiles(count: u64, points: &[(f64, u64)]) -> Distribution {
    let points = points.to_vec();
    Distribution::Percentiles(Percentiles {
        count,
        min_ns: 10,
        max_ns: 10_000_000,
        points,
    })
}

fn run(label: &str, phases: Vec<(&str, Distribution)>) -> Run {
    let phases = phases
        .into_iter()
        .map(|(name, latencies)| (name.to_owned(), latencies));
    Run {
        label: label.to_owned(),
        phases: phases.collect(),
    }
}

fn texts<'a>(picture: &'a Document) -> Vec<Node<'a, 'a>> {
    picture
        .descendants()
        .filter(|node| node.has_tag_name("text"))
        .collect()
}

fn number(node: Node, attribute: &str) -> f64 {
    node.attribute(attribute).unwrap().parse().unwrap()
}

/// Fails if the picture is not well-formed, or has a coordinate that is no number.
fn check_svg(svg: &str) {
    let picture = Document::parse(svg).unwrap();
    for attribute in picture.descendants().flat_map(|node| node.attributes()) {
        let value = attribute.value();
        assert!(
            !value.contains("NaN") && !value.contains("inf"),
            "{}={value}",
            attribute.name()
        );
    }
    for node in texts(&picture) {
        assert!(number(node, "x").is_finite() && number(node, "y").is_finite());
    }
}

fn check_text(text: &str, width: usize) {
    for line in text.lines() {
        assert!(
            line.width() <= width,
            "{} columns of {width}: {line}",
            line.width()
        );
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}

fn check(runs: &[Run]) {
    let drawn = svg(runs);
    check_svg(&drawn);
    assert_eq!(drawn, svg(runs), "it is the same each time");
    for width in [0, 40, 61, 80, 200] {
        check_text(&text(runs, width), width.max(40));
    }
}

#[test]
fn labels_are_escaped_and_kept() {
    let label = "<b>&amp; \"$x$\" '\u{1b}\0µ漢";
    let runs = [run(label, vec![("re<ad> \\$\\sigma$", buckets(&[(5, 1)]))])];
    let svg = svg(&runs);
    check_svg(&svg);
    let picture = Document::parse(&svg).unwrap();
    let texts: Vec<_> = texts(&picture)
        .iter()
        .filter_map(|node| node.text())
        .collect();
    assert_eq!(texts[0], "<b>&amp; \"$x$\" '\u{fffd}\u{fffd}µ漢 (n = 1)");
    assert!(
        texts.contains(&"re<ad> \\$\\sigma$: histogram"),
        "{texts:?}"
    );
}

/// A file may be read in several pieces.
#[test]
fn the_legend_counts_items() {
    let latencies = |count| buckets(&[(5, count)]);
    let phases = vec![("read", latencies(12)), ("total", latencies(3))];
    assert!(svg(&[run("a", phases)]).contains(">a (n = 3)<"));
    let foreign = vec![("A", latencies(2)), ("B", latencies(7))];
    assert!(text(&[run("a", foreign)], 80).starts_with("a  a (n = 7)\n"));
}

#[test]
fn odd_latencies_are_drawn() {
    check(&[]);
    check(&[run("no phases", vec![])]);
    check(&[
        run(
            "a",
            vec![
                ("empty", buckets(&[])),
                ("no percentiles", percentiles(0, &[])),
                ("one", buckets(&[(123_456, 1)])),
                ("zeros", buckets(&[(0, 1000)])),
                ("1 ns", buckets(&[(1, 1)])),
                ("1 ns and 1 h", buckets(&[(1, 1), (HOUR_NS, 1)])),
                (
                    "0 and 1 h",
                    buckets(&[(0, 1), (HOUR_NS, u64::from(u32::MAX))]),
                ),
                ("greatest", buckets(&[(u64::MAX, 3)])),
                ("one percentile", percentiles(1, &[(50.0, 10)])),
                (
                    "odd",
                    percentiles(9, &[(f64::NAN, 1), (-1.0, 2), (1e9, u64::MAX), (100.0, 0)]),
                ),
            ],
        ),
        run(
            "",
            vec![
                ("one", percentiles(7, &[])),
                ("twice", buckets(&[])),
                ("twice", buckets(&[])),
            ],
        ),
    ]);
}

#[test]
fn twenty_runs_with_long_labels_do_not_overlap() {
    let label = |run: usize| format!("{run} {}", "Ww/漢❤\u{fe0f}".repeat(run * 3));
    let runs: Vec<Run> = (0..20)
        .map(|place| {
            run(
                &label(place),
                vec![("total", buckets(&[(1000 << place, 9)]))],
            )
        })
        .collect();
    check(&runs);
    let svg = svg(&runs);
    let picture = Document::parse(&svg).unwrap();
    let entries = texts(&picture);
    let entries: Vec<_> = entries.iter().take(20).collect();
    for pair in entries.windows(2) {
        let end = number(*pair[0], "x") + svg::text_width(pair[0].text().unwrap());
        let same_row = number(*pair[0], "y") == number(*pair[1], "y");
        assert!(
            end < number(picture.root_element(), "width"),
            "{:?}",
            pair[0].text()
        );
        assert!(
            !same_row || end < number(*pair[1], "x"),
            "{:?}",
            pair[0].text()
        );
    }
}

/// 990 values of 10 µs and 10 of 1 ms: the curve rises at 99 %.
#[test]
fn the_curve_rises_at_its_percentile() {
    let svg = svg(&[run(
        "a",
        vec![("read", buckets(&[(10_000, 990), (1_000_000, 10)]))],
    )]);
    let picture = Document::parse(&svg).unwrap();
    let texts = texts(&picture);
    let tick = |label| {
        texts
            .iter()
            .find(|node| node.text() == Some(label))
            .unwrap()
    };
    let x = ["0 %", "90 %", "99 %", "99.9 %"].map(|label| number(*tick(label), "x"));
    assert!((x[1] - x[0] - (x[2] - x[1])).abs() < 0.1, "{x:?}");
    assert!((x[2] - x[1] - (x[3] - x[2])).abs() < 0.1, "{x:?}");
    let curve = picture
        .descendants()
        .find(|node| node.has_tag_name("path"))
        .unwrap();
    let curve = curve.attribute("d").unwrap().replace(['M', 'L'], " ");
    let numbers: Vec<f64> = curve
        .split_whitespace()
        .map(|n| n.parse().unwrap())
        .collect();
    let rise = numbers.chunks(2).map(|point| point[0]).nth(1).unwrap();
    assert!((rise - x[2]).abs() < 0.1, "{rise} {x:?}");
}

/// Most readers look for the median first.
#[test]
fn the_median_has_a_tick() {
    for (count, zero_has_room) in [(100, true), (100_000_000, false)] {
        let runs = [run(
            "a",
            vec![("read", buckets(&[(10_000, count), (2_000_000, 2)]))],
        )];
        let svg = svg(&runs);
        let picture = Document::parse(&svg).unwrap();
        let texts = texts(&picture);
        let find = |label| texts.iter().find(|node| node.text() == Some(label));
        let (median, next) = (find("50 %").unwrap(), find("90 %").unwrap());
        assert!((number(*median, "y") - number(*next, "y")).abs() < 0.5);
        assert!(number(*median, "x") < number(*next, "x"));
        // The axis of shares has a label 0 %, too.
        let zeros = texts.iter().filter(|node| node.text() == Some("0 %"));
        assert_eq!(zeros.count(), 1 + usize::from(zero_has_room));
        let text = text(&runs, 120);
        let labels = text
            .lines()
            .find(|line| line.trim_end().contains(" 90 %  ") && !line.contains("max"));
        let labels = labels.unwrap_or_else(|| panic!("{text}"));
        assert!(labels.contains("50 %"), "{text}");
        assert_eq!(
            labels.trim_start().starts_with("0 %"),
            zero_has_room,
            "{text}"
        );
    }
}

#[test]
fn runs_without_buckets_are_named() {
    let known = || percentiles(1000, &[(50.0, 1000), (99.0, 90_000)]);
    let runs = [
        run("full", vec![("read", buckets(&[(5000, 10)]))]),
        run("sparse", vec![("read", known()), ("hash", known())]),
    ];
    let svg = svg(&runs);
    assert!(svg.contains(">no buckets (hint: --bins): sparse<"));
    assert!(svg.contains(">no buckets (hint: --bins)<"));
    let text = text(&runs, 60);
    assert_eq!(
        text.matches("b no buckets (hint: --bins)").count(),
        2,
        "{text}"
    );
}

#[test]
fn a_terminal_shows_it_all() {
    let shape = [(10_000, 500), (14_000, 400), (20_000, 90), (5_000_000, 10)];
    let text = text(&[run("uring", vec![("read", buckets(&shape))])], 60);
    let expected = "\
a  uring (n = 1,000)

read
      50 %     90 %     99 %   99.9 %  99.99 %      max
a  10.0 µs  14.0 µs  20.1 µs  5.01 ms  5.01 ms  5.01 ms

latency by percentile
       │                               aaaaaaaaaaaaaaaaaaaaa
       │                               a
       │                               a
  1 ms ┤                               a
       │                               a
       │                               a
       │                               a
100 µs ┤                               a
       │                               a
       │                               a
       │    aaaaaaaaaaaaaaaaaaaaaaaaaaaa
 10 µs ┤aaaaa
       └┬───┬──────────┬───────────────┬───────────────┬────
          50 %       90 %            99 %           99.9 %

histogram, with its highest share
   50.0 %│ █
         │ █ ▆
         │ █ █
         │ █ █
         │ █ █  ▁
a        │ █ █  █                                         ▁
         └─┬────────────────┬─────────────────┬─────────────
          10 µs          100 µs             1 ms
";
    assert_eq!(text, expected, "\n{text}");
}

fn any_latencies() -> impl Strategy<Value = Distribution> {
    let ns = || prop_oneof![Just(0), 0..100u64, 0..HOUR_NS, any::<u64>()];
    let counts = proptest::collection::vec((ns(), 1..1_000_000u64), 0..20);
    let points = proptest::collection::vec((any::<f64>(), ns()), 0..8);
    let known = (any::<u64>(), ns(), ns(), points);
    prop_oneof![
        counts.prop_map(|counts| buckets(&counts)),
        known.prop_map(|(count, min_ns, max_ns, points)| {
            Distribution::Percentiles(Percentiles {
                count,
                min_ns,
                max_ns,
                points,
            })
        }),
    ]
}

fn any_run() -> impl Strategy<Value = Run> {
    let name = prop_oneof![Just("read".to_owned()), any::<String>()];
    let phases = proptest::collection::vec((name, any_latencies()), 0..3);
    let label = prop_oneof![any::<String>(), r"[\\$a{}^<&]{0,12}"];
    (label, phases).prop_map(|(label, phases)| Run { label, phases })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn anything_can_be_drawn(
        runs in proptest::collection::vec(any_run(), 0..4),
        width in 0..150usize,
    ) {
        check_svg(&svg(&runs));
        check_text(&text(&runs, width), width.max(40));
    }
}
