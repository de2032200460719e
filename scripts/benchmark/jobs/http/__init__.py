"""`ringmill http` and the programs it is compared with."""

from benchmark.jobs.http.suites import SUITES

__all__ = ["SUITES"]
