"""SVG elements, and the scales and colours of charts."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

# Okabe and Ito's colours, which colour-blind readers can distinguish, too; on white.
INK, SOFT, GRID = "#1a1a1a", "#595959", "#d9d9d9"
BLUE, ORANGE, GREEN, PURPLE, VERMILION, GREY = \
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#a6a6a6"

SANS = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
MONO = "ui-monospace, 'DejaVu Sans Mono', monospace"


class Picture:
    """A white page to draw on; numbers are pixels from the top left."""

    def __init__(self, width, height, title):
        self._root = ET.Element("svg", {
            "xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {width} {height}",
            "width": str(width), "height": str(height), "role": "img", "font-family": SANS})
        ET.SubElement(self._root, "title").text = title
        self.box(0, 0, width, height, "#ffffff")

    def box(self, x, y, width, height, fill):
        self._add("rect", x=x, y=y, width=width, height=height, fill=fill)

    def line(self, x1, y1, x2, y2, stroke=INK, width=1):
        self._add("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=stroke, stroke_width=width)

    def path(self, points, stroke):
        text = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._add("polyline", points=text, fill="none", stroke=stroke, stroke_width=2,
                  stroke_linejoin="round")

    def mark(self, shape, x, y, fill):
        """A circle, square, triangle or diamond; all look equally large."""
        if shape == "circle":
            self._add("circle", cx=x, cy=y, r=4.5, fill=fill)
            return
        corners = {"square": [(-4, -4), (4, -4), (4, 4), (-4, 4)],
                   "triangle": [(0, -5.5), (5, 4), (-5, 4)],
                   "diamond": [(0, -5.8), (5.8, 0), (0, 5.8), (-5.8, 0)]}[shape]
        text = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
        self._add("polygon", points=text, fill=fill)

    def text(self, x, y, text, size=12, fill=INK, anchor="start", mono=False, bold=False):
        element = self._add("text", x=x, y=y, font_size=size, fill=fill, text_anchor=anchor)
        element.text = text
        if mono:
            element.set("font-family", MONO)
        if bold:
            element.set("font-weight", "600")

    def _add(self, tag, **attributes):
        return ET.SubElement(self._root, tag, {
            name.replace("_", "-"): f"{value:.1f}" if isinstance(value, float) else str(value)
            for name, value in attributes.items()})

    def finish(self):
        ET.indent(self._root)
        return ET.tostring(self._root, encoding="unicode") + "\n"


def ticks(most, count=5):
    """Round numbers from 0 to a little over MOST, about COUNT of them."""
    step = 10 ** math.floor(math.log10(most / count))
    step = next(step * factor for factor in (1, 2, 5, 10) if most / (step * factor) <= count)
    return [step * number for number in range(math.ceil(most / step - 1e-9) + 1)]


def short(number):
    """262,414 as 262 k, for an axis or beside a bar."""
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{trimmed(number / size)}{letter}"
    return trimmed(number)


def trimmed(number):
    """Three digits, and no zeros after the point."""
    digits = 0 if number >= 100 else 1 if number >= 10 else 2
    text = f"{number:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
