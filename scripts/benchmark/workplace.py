"""The directories of a benchmark: the locked directory of the data and the directory that contenders
print to; and the environment of the contenders. Suites that run one after another share it."""

from __future__ import annotations

import fcntl
import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.host.tools import BenchError, uninterrupted
from benchmark.programs import Programs


@dataclass
class Workplace:
    data: Path
    output: Path
    programs: Programs
    volumes: dict = field(default_factory=dict)  # {stem: volume}, those that were used

    @property
    def env(self):
        return {**self.programs.env, "LIST": str(self.list), "PARTS": str(self.parts)}

    @property
    def list(self):
        return self.output / "list"

    @property
    def parts(self):
        return self.output / "parts"

    @property
    def traces(self):
        return self.output / "traces"


@contextmanager
def workplace(options):
    """Created here; everything is unmounted at the end. The data stays, unless it is to be removed."""
    data = options.work.resolve()
    data.mkdir(parents=True, exist_ok=True)
    with open(data / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Two benchmarks at once would disturb each other.
            raise BenchError(f"{data}: in use by another benchmark") from None
        with tempfile.TemporaryDirectory(prefix="ringmill-bench-",
                                         dir=output_parent(options)) as path:
            output = Path(path)
            for name in ("bin", "parts", "traces"):
                (output / name).mkdir()
            given = {"ringmill": options.ringmill, "plain_pool": options.plain_pool,
                     "library": options.library,
                     "imperfect_dns": options.imperfect_dns,
                     "epoll_connect": options.epoll_connect,
                     "tokio-uring-buffered": options.tokio_uring,
                     "materialize-contenders": options.materialize_contenders}
            programs = Programs(given, output / "bin", output / "traces", data / "commits")
            place = Workplace(data, output, programs)
            try:
                yield place
            finally:
                with uninterrupted():
                    for volume in place.volumes.values():
                        volume.close()
                        if options.remove_data:
                            volume.discard()


def output_parent(options):
    shared_memory = Path("/dev/shm")
    if options.output is None and os.access(shared_memory, os.W_OK):
        return shared_memory
    return options.output or options.work
