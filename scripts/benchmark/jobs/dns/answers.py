"""Reads what the programs print about names, and holds it against the zone."""

from __future__ import annotations

import json
import re

from benchmark.bench import WrongOutput
from benchmark.jobs.dns.server import answer, name


def text(lines):
    """ringmill: `name<TAB>A<TAB>status<TAB>data…`"""
    for line in lines:
        found, _, status, *data = line.split("\t")
        addresses = [word for word in data if not word.startswith("CNAME ")]
        yield found, status, addresses[0] if addresses else None


def massdns(lines):
    """An object for each name."""
    for line in lines:
        row = json.loads(line)
        answers = row.get("data", {}).get("answers", [])
        addresses = [record["data"] for record in answers if record["type"] == "A"]
        status = row.get("status", row.get("error"))
        if status == "NOERROR" and not addresses:
            status = "NODATA"
        yield row["name"].rstrip("."), status, addresses[0] if addresses else None


def adnshost(lines):
    """`name A data`, after `name CNAME other` for an alias; `; failed … name …` if there is none."""
    alias = None
    for line in lines:
        failed = re.match(r"; failed \S+ \d+ (\S+) (\S+) ", line)
        if failed:
            yield failed[2], failed[1].upper(), None
            continue
        found, rtype, data = line.split()
        if rtype == "CNAME":
            alias = found
        else:
            yield alias or found, "NOERROR", data
            alias = None


FORMS = {"text": text, "massdns": massdns, "adnshost": adnshost}


class AnswerCheck:
    """Every name has one row, and it says what the zone says."""

    def __init__(self, names):
        self._expected = {name(number): (answer(number)[0], answer(number)[2])
                          for number in range(names)}

    def check(self, contender, path):
        try:
            with open(path) as file:
                rows = list(FORMS[contender.form](line.rstrip("\n") for line in file))
        except (ValueError, KeyError):
            raise WrongOutput("prints lines that cannot be read") from None
        names = [row[0] for row in rows]
        if contender.ordered and names != list(self._expected):
            raise WrongOutput("does not print the names in the order of the list")
        if sorted(names) != sorted(self._expected):
            raise WrongOutput(f"prints {len(names):,} names that are not the "
                              f"{len(self._expected):,} of the list")
        wrong = [row for row in rows if self._expected[row[0]] != row[1:]]
        if wrong:
            raise WrongOutput(f"is wrong about {len(wrong):,} names, first {wrong[0]}")
