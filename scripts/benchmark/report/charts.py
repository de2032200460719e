"""Charts of a case: bars for contenders, lines for a sweep."""

from __future__ import annotations

import math

from benchmark.figures import median
from benchmark.report.svg import (BLUE, GREEN, GREY, GRID, ORANGE, PURPLE, SOFT, Picture,
                                  short, ticks)

WIDTH = 820
LEFT, RIGHT = 24, 96  # the right margin holds the figure beside the longest bar
HEAD = 64

SERIES_STYLES = [(BLUE, "circle"), (ORANGE, "square"), (GREEN, "triangle"), (PURPLE, "diamond")]


def chart_of(measured, unit):
    """The SVG, or None if there is nothing to draw."""
    used = [one for one in measured.contenders if measured.used(one.label)]
    if not used:
        return None
    throughput = Throughput(measured, unit)
    draw = line_chart if measured.case.x_axis else bar_chart
    return draw(measured, used, throughput)


class Throughput:
    """Items per second; bytes per second for a single item."""

    def __init__(self, measured, unit):
        by_bytes = measured.items == 1
        self.amount = f"{measured.bytes / 1e9:.3f} GB" if by_bytes else f"{measured.items:,} {unit}"
        self.unit = "GB/s" if by_bytes else f"{unit}/s"
        self._amount = measured.bytes / 1e9 if by_bytes else measured.items
        self._measured = measured

    def of(self, contender):
        """(min, median, max)"""
        values = [self._amount / run.usage.wall_s
                  for run in self._measured.used(contender.label)]
        return min(values), median(values), max(values)


def subtitle(measured, throughput):
    rounds = max(len(runs) for runs in measured.runs.values())
    of_rounds = f"median, min and max of {rounds} rounds" if rounds > 1 else "one round"
    variant = f", {measured.case.varies}: {measured.variant}" if measured.items > 1 else ""
    return f"{throughput.unit}, {of_rounds}; {throughput.amount}{variant}"


def start(measured, throughput, height):
    title = measured.case.title
    picture = Picture(WIDTH, height, f"{title}: {throughput.unit}")
    picture.text(LEFT, 28, title, size=17, bold=True)
    picture.text(LEFT, 48, subtitle(measured, throughput), fill=SOFT)
    return picture


# ---------------------------------------------------------------------------------------------
# Bars

ROW, BAR = 42, 15


def bar_chart(measured, contenders, throughput):
    """The fastest is on top; ringmill is in colour."""
    rows = sorted(((throughput.of(one), one.label) for one in contenders), reverse=True,
                  key=lambda row: row[0][1])
    marks = ticks(max(high for (_, _, high), _ in rows))
    scale = (WIDTH - LEFT - RIGHT) / marks[-1]
    bottom = HEAD + len(rows) * ROW
    picture = start(measured, throughput, bottom + 30)
    for mark in marks:
        x = LEFT + mark * scale
        for number in range(len(rows)):  # not through the labels
            picture.line(x, HEAD + number * ROW + 20, x, HEAD + (number + 1) * ROW - 4, GRID)
        picture.text(x, bottom + 14, short(mark), size=11, fill=SOFT, anchor="middle")
    for number, ((low, middle, high), label) in enumerate(rows):
        top = HEAD + number * ROW
        ours = label.startswith("ringmill")
        picture.text(LEFT, top + 15, label, mono=True, bold=ours)
        picture.box(LEFT, top + 21, middle * scale, BAR, BLUE if ours else GREY)
        whisker(picture, LEFT + low * scale, LEFT + high * scale, top + 21 + BAR / 2)
        picture.text(LEFT + high * scale + 8, top + 33, short(middle), bold=ours)
    return picture.finish()


def whisker(picture, low, high, y):
    picture.line(low, y, high, y)
    for x in (low, high):
        picture.line(x, y - 4, x, y + 4)


# ---------------------------------------------------------------------------------------------
# Lines

AXIS, PLOT_HEIGHT, LEGEND = 64, 320, 26
DODGE = 7  # the horizontal offset between series, so that no whisker hides another


def line_chart(measured, contenders, throughput):
    """One line for each series; x is logarithmic."""
    series = {}
    for one in contenders:
        series.setdefault(one.series, []).append((one.x, throughput.of(one)))
    xs = sorted({x for points in series.values() for x, _ in points})
    marks = ticks(max(high for points in series.values() for _, (_, _, high) in points))
    top = HEAD + LEGEND
    bottom = top + PLOT_HEIGHT
    picture = start(measured, throughput, bottom + 52)
    left, right = AXIS, WIDTH - 40
    span = math.log(xs[-1] / xs[0]) or 1

    def at(x, y):
        return (left + 12 + math.log(x / xs[0]) / span * (right - left - 24),
                bottom - y / marks[-1] * PLOT_HEIGHT)

    for mark in marks:
        _, y = at(xs[0], mark)
        picture.line(left, y, right, y, GRID)
        picture.text(left - 8, y + 4, short(mark), size=11, fill=SOFT, anchor="end")
    for x in xs:
        picture.line(at(x, 0)[0], bottom, at(x, 0)[0], bottom + 5, SOFT)
        picture.text(at(x, 0)[0], bottom + 19, f"{x:,}", size=11, fill=SOFT, anchor="middle")
    picture.text((left + right) / 2, bottom + 40, measured.case.x_axis, anchor="middle")
    legend_x = AXIS
    for number, ((name, points), (colour, shape)) in enumerate(zip(series.items(), SERIES_STYLES)):
        aside = (number - (len(series) - 1) / 2) * DODGE
        draw_series(picture, [(at(x, 0)[0] + aside, [at(x, y)[1] for y in ys])
                              for x, ys in sorted(points)], colour, shape)
        picture.mark(shape, legend_x + 6, HEAD + 8, colour)
        picture.text(legend_x + 16, HEAD + 12, name)
        legend_x += 40 + 7.2 * len(name)
    return picture.finish()


def draw_series(picture, points, colour, shape):
    """POINTS: (x, [low, middle, high])"""
    picture.path([(x, middle) for x, (_, middle, _) in points], colour)
    for x, (low, middle, high) in points:
        picture.line(x, low, x, high, colour, 1.5)
        for y in (low, high):
            picture.line(x - 4, y, x + 4, y, colour, 1.5)
        picture.mark(shape, x, middle, colour)
