"""`ringmill hash` and the programs it is compared with."""

from benchmark.jobs.hash import blocking, storage, suites

SUITES = [*suites.SUITES, blocking.SUITE, storage.SUITE]

__all__ = ["SUITES"]
