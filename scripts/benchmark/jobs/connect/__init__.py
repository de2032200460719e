"""`ringmill connect` and the programs it is compared with."""

from benchmark.jobs.connect.suites import SUITES

__all__ = ["SUITES"]
