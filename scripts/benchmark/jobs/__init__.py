"""The suites: the jobs of ringmill, its function `materialize`, and this tree against an earlier
commit."""

from benchmark.jobs import against
from benchmark.jobs import connect as connect_job
from benchmark.jobs import dns as dns_job
from benchmark.jobs import hash as hash_job
from benchmark.jobs import http as http_job
from benchmark.jobs import materialize
from benchmark.jobs.dns import imperfect as dns_imperfect
from benchmark.jobs.http import imperfect as http_imperfect

# In the order of `scripts/bench all`.
SUITES = [*hash_job.SUITES, *dns_job.SUITES, dns_imperfect.SUITE, *connect_job.SUITES,
          *http_job.SUITES, http_imperfect.SUITE, *materialize.SUITES, against.SUITE]
