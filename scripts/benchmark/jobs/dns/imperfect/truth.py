"""Reads what the programs print, and compares every row with the truth."""

from __future__ import annotations

import json

from benchmark.bench import WrongOutput
from benchmark.jobs.dns import answers

UNANSWERED = "healthy names unanswered"
FALSE = "false rows"
TIMEOUTS = "TIMEOUT rows"
STATUSES = "different statuses"


def jsonl(lines):
    """ringmill: an object for each name."""
    for line in lines:
        row = json.loads(line)
        addresses = [record["data"] for record in row["answers"]]
        yield row["name"]["text"], row["status"], first(addresses), row["attempts"]


def text(lines):
    for row in answers.text(lines):
        yield *row, None


def massdns(lines):
    for row in answers.massdns(lines):
        yield *row, None


def simple(lines):
    """massdns: `name. A address` for each address that it has found."""
    for line in lines:
        found, _, address = line.split(" ")
        yield found.rstrip("."), "NOERROR", address, None


def first(values):
    return values[0] if values else None


FORMS = {"jsonl": jsonl, "text": text, "massdns": massdns, "simple": simple}

# These forms leave out names that were not found.
HAS_GAPS = ("massdns", "simple")


class TruthCheck:
    """Checks that each name has one row, in order if that is promised, and counts false rows."""

    def __init__(self, names, situation):
        self._names = names
        self._truth = {found: situation.truth(found) for found in names}

    def counts(self, contender, path):
        try:
            with open(path) as file:
                rows = list(FORMS[contender.form](line.rstrip("\n") for line in file))
        except (ValueError, KeyError):
            raise WrongOutput("prints lines that cannot be read") from None
        self._check_names(contender, [row[0] for row in rows])
        false = sum(self._is_false(*row) for row in rows)
        answered = {found for found, status, *_ in rows if status == "NOERROR"}
        healthy = [found for found, (status, _) in self._truth.items() if status == "NOERROR"]
        return {UNANSWERED: sum(found not in answered for found in healthy), FALSE: false,
                TIMEOUTS: sum(status == "TIMEOUT" for _, status, *_ in rows),
                STATUSES: len({status for _, status, *_ in rows})}

    def _check_names(self, contender, names):
        if contender.form in HAS_GAPS:
            if len(set(names)) != len(names) or not self._truth.keys() >= set(names):
                raise WrongOutput("prints names twice, or others than those of the list")
        elif contender.ordered and names != self._names:
            raise WrongOutput("does not print the names in the order of the list")
        elif sorted(names) != sorted(self._names):
            raise WrongOutput(f"prints {len(names):,} names that are not the "
                              f"{len(self._names):,} of the list")

    def _is_false(self, found, status, address, attempts):
        """Whether the row contradicts the server. A TIMEOUT of a healthy name may be true: all of its
        queries may be lost; it is counted as unanswered."""
        expected, address_expected = self._truth[found]
        if attempts == 0:
            return True
        if expected is None:
            return status == "NOERROR"
        if (expected, status) == ("NOERROR", "TIMEOUT"):
            return False
        return (status, address) != (expected, address_expected)
