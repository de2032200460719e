"""Medians, ratios, intervals."""

from __future__ import annotations

import math
import statistics


def median(values):
    return statistics.median(values)


def spread(values, form="{:.2f}"):
    """`min / median / max` as one table cell."""
    return " / ".join(form.format(value) for value in (min(values), median(values), max(values)))


def median_interval(values, level=0.95):
    """The confidence interval of the median, without any assumption about the distribution: two
    order statistics, by the sign test. None if there are too few values."""
    count = len(values)
    tail, rank = 0.0, 0
    while 2 * (tail + math.comb(count, rank) / 2 ** count) <= 1 - level:
        tail += math.comb(count, rank) / 2 ** count
        rank += 1
    ordered = sorted(values)
    return (ordered[rank - 1], ordered[count - rank]) if rank > 0 else None


def paired_ratios(above, below):
    """above / below for each round that has both; both are {round: value}."""
    return [above[number] / below[number] for number in sorted(above.keys() & below.keys())]
