"""The jobs of ringmill that are measured."""

from benchmark.jobs import hash as hash_job

# In the order of `scripts/bench all`.
SUITES = [*hash_job.SUITES]
