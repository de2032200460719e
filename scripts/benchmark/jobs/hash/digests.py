"""Reads what the hashing programs print, and compares it."""

from __future__ import annotations

import csv

from benchmark.bench import WrongOutput


def gnu(line):
    digest, name = line.split(" ", 1)
    return name[1:], digest  # the name follows a second blank or `*`


def bsd(line):
    """`XXH3 (name) = hex`"""
    head, digest = line.rsplit(") = ", 1)
    return head.split(" (", 1)[1], digest


def hashdeep(line):
    """`size,hex,name`, after a head of lines that begin with `%` or `#`"""
    if line.startswith(("%", "#")):
        return None
    _, digest, name = line.split(",", 2)
    return name, digest


def fclones(line):
    """`size,hex,count,name` as CSV, after a line of titles; names are absolute"""
    size, digest, count, name = next(csv.reader([line]))
    if size == "size":
        return None
    if count != "1":
        raise ValueError("a group of several files")
    return name, digest


FORMS = {"gnu": gnu, "bsd": bsd, "hashdeep": hashdeep, "fclones": fclones}


def read_digests(path, form, root):
    """(name, digest) for each line of the output."""
    parse, prefix = FORMS[form], f"{root}/"
    pairs = []
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                pair = parse(line.rstrip("\n"))
                if pair:
                    name, digest = pair
                    pairs.append((name[len(prefix):] if name.startswith(prefix) else name, digest))
    except (ValueError, IndexError):
        raise WrongOutput("prints lines that cannot be read") from None
    return pairs


class DigestCheck:
    """Compares every output with the list of names and with the first contender's digests."""

    def __init__(self, names, root):
        self._names, self._root = names, root
        self._sorted = sorted(names)
        self._digests = None
        self._source = None

    def check(self, contender, path):
        pairs = read_digests(path, contender.form, self._root)
        names = [name for name, _ in pairs]
        if contender.ordered and names != self._names:
            raise WrongOutput("does not print the names in the order of the list")
        if sorted(names) != self._sorted:
            raise WrongOutput(f"prints {len(names):,} names that are not the {len(self._names):,} "
                              "of the list")
        if self._digests is None:
            self._digests, self._source = dict(pairs), contender.label
        wrong = [pair for pair in pairs if self._digests[pair[0]] != pair[1]]
        if wrong:
            name, digest = wrong[0]
            raise WrongOutput(f"disagrees with `{self._source}` about {len(wrong):,} of "
                              f"{len(pairs):,} files, first {name}: {digest} against "
                              f"{self._digests[name]}")
