"""`ringmill dns` and massdns on servers with faults: is what they say true, and how long does it
take?"""

from benchmark.jobs.dns.imperfect.suite import SUITE

__all__ = ["SUITE"]
