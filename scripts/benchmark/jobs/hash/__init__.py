"""`ringmill hash` and the programs it is compared with."""

from benchmark.jobs.hash import blocking, suites

SUITES = [*suites.SUITES, blocking.SUITE]

__all__ = ["SUITES"]
