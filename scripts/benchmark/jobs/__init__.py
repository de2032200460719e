"""The jobs of ringmill that are measured, and all of them against an earlier commit."""

from benchmark.jobs import against
from benchmark.jobs import dns as dns_job
from benchmark.jobs import hash as hash_job

# In the order of `scripts/bench all`.
SUITES = [*hash_job.SUITES, *dns_job.SUITES, against.SUITE]
