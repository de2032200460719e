"""Rows of `ringmill http`."""

from __future__ import annotations


def good_rows(path, size):
    """How many rows are where the order of the list has them, with status 200 and this size."""
    part = f'"status":200,"size":{size},'
    with open(path) as rows:
        return sum(row.startswith(f'{{"index":{index},') and part in row
                   for index, row in enumerate(rows))
