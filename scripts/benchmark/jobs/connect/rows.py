"""Reads what the programs print about endpoints, and compares it with what the endpoints do."""

from __future__ import annotations

import re

from benchmark.bench import WrongOutput
from benchmark.jobs.connect.endpoints import OPEN, REFUSED, TIMEOUT

# nmap's words.
STATES = {"open": OPEN, "closed": REFUSED, "filtered": TIMEOUT}

HOST = re.compile(r"Host: (\S+) \(\)\tPorts: ([^\t]*)(?:\tIgnored State: (\S+) \((\d+)\))?")


def text(lines, _ports):
    """ringmill and epoll_connect: `endpoint<TAB>status…`"""
    for line in lines:
        endpoint, status, *_ = line.split("\t")
        yield endpoint, status


def nmap(lines, ports):
    """nmap -oG: a line for each host, with the ports in all states but one; all others have that."""
    for line in lines:
        found = HOST.match(line)
        if found is None:
            continue
        host, listed, other_state, other_count = found.groups()
        states = dict(port.split("/")[:2] for port in listed.split(", ") if port)
        others = [port for port in ports if port not in states]
        if len(others) != int(other_count or 0):
            raise WrongOutput(f"lacks ports of {host}")
        states.update(dict.fromkeys(others, other_state))
        for port, state in states.items():
            yield f"{host}:{port}", STATES.get(state, state)


FORMS = {"text": text, "nmap": nmap}


def check(contender, endpoints, path):
    """Every endpoint has one row with its status, in the order of the list if that is promised."""
    try:
        with open(path) as file:
            lines = (line.rstrip("\n") for line in file)
            rows = list(FORMS[contender.form](lines, endpoints.ports))
    except ValueError:
        raise WrongOutput("prints lines that cannot be read") from None
    listed, found = ([endpoint for endpoint, _ in pairs] for pairs in (endpoints.truth, rows))
    if contender.ordered and found != listed:
        raise WrongOutput("does not print the endpoints in the order of the list")
    if sorted(found) != sorted(listed):
        raise WrongOutput(f"prints {len(found):,} endpoints that are not the {len(listed):,} "
                          "of the list")
    truth = dict(endpoints.truth)
    wrong = [row for row in rows if truth[row[0]] != row[1]]
    if wrong:
        raise WrongOutput(f"is wrong about {len(wrong):,} endpoints, first {wrong[0]}")
