"""`ringmill dns` and the programs it is compared with."""

from benchmark.jobs.dns.suites import SUITES

__all__ = ["SUITES"]
