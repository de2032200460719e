"""`ringmill http` on hosts with faults: are its rows correct, and do the healthy hosts wait for the
others?"""

from benchmark.jobs.http.imperfect.suite import SUITE

__all__ = ["SUITE"]
