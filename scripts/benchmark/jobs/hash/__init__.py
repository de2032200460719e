"""`ringmill hash` and the programs it is compared with."""

from benchmark.jobs.hash.suites import SUITES

__all__ = ["SUITES"]
