"""Reads what the programs print about names, and compares it with the zone."""

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
    """massdns: a JSON object for each name."""
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


def massdns_simple(lines):
    """`name A data`; nothing for names without an address."""
    for line in lines:
        if not line:
            continue
        found, rtype, data = line.split()
        if rtype == "A":
            yield found.rstrip("."), "NOERROR", data


FORMS = {"text": text, "massdns": massdns, "massdns-simple": massdns_simple, "adnshost": adnshost}


class AnswerCheck:
    """Checks that every name has one row, which agrees with the zone."""

    def __init__(self, names):
        self._expected = {name(number): (answer(number)[0], answer(number)[2])
                          for number in range(names)}

    def check(self, contender, path):
        if contender.form == "dnsperf":
            return self.check_dnsperf(path)
        try:
            with open(path) as file:
                rows = list(FORMS[contender.form](line.rstrip("\n") for line in file))
        except (ValueError, KeyError):
            raise WrongOutput("prints lines that cannot be read") from None
        if contender.form == "massdns-simple":
            return self.check_addresses(rows)
        names = [row[0] for row in rows]
        if contender.ordered and names != list(self._expected):
            raise WrongOutput("does not print the names in the order of the list")
        if sorted(names) != sorted(self._expected):
            raise WrongOutput(f"prints {len(names):,} names that are not the "
                              f"{len(self._expected):,} of the list")
        wrong = [row for row in rows if self._expected[row[0]] != row[1:]]
        if wrong:
            raise WrongOutput(f"is wrong about {len(wrong):,} names, first {wrong[0]}")

    def check_addresses(self, rows):
        """Checks that names have only their own addresses, and that aliases have none."""
        expected = {name: address for name, (status, address) in self._expected.items() if address}
        wrong = [row for row in rows if expected.get(row[0]) != row[2]]
        if wrong:
            raise WrongOutput(f"is wrong about {len(wrong):,} names, first {wrong[0]}")

    def check_dnsperf(self, path):
        """dnsperf prints how many queries were answered; it sends each once, and may lose one in a
        thousand."""
        with open(path) as file:
            output = file.read()
        completed = re.search(r"Queries completed:\s+(\d+)", output)
        if completed is None or int(completed[1]) < 0.999 * len(self._expected):
            raise WrongOutput(f"did not complete {len(self._expected):,} queries")
