"""`ringmill dns` and massdns on servers with faults: are their rows correct, and how long do they
take?"""

from benchmark.jobs.dns.imperfect.suite import SUITE

__all__ = ["SUITE"]
