"""The suite of file systems whose calls may block, so that they have to be made on threads."""

from __future__ import annotations

from benchmark.files import layers
from benchmark.files.scene import perform_on_files
from benchmark.jobs.hash.contenders import pool, ringmill
from benchmark.jobs.hash.data import small_set
from benchmark.jobs.hash.digests import DigestCheck
from benchmark.model import Case, RatioTarget, Suite, SwitchTarget
from benchmark.programs import earlier

METHOD = """\
- The file systems lie over the same ext4 image: overlayfs with the data in its lower directory,
  bindfs with many threads, and one whose every call (look-up, stat, open, read, flush, release)
  takes 5 ms while others go on. The processor time of a server in user space is not that of the
  command; the image is warmed below the slow one.
- On the slow one the kernel knows no names at the start of a run ("slow"), or knows all of them and
  asks about each again ("slow-known").
- Context switches are those of the command and its children, voluntary and not.
"""

DATA_SETS = {"ext4": small_set, "overlay": small_set,
             "bindfs": lambda options: small_set(options, options.fuse_files),
             "slow": lambda options: small_set(options, options.slow_files),
             "slow-known": lambda options: small_set(options, options.slow_files)}

LAYERS = {"overlay": layers.overlay, "bindfs": layers.bindfs, "slow": layers.slow,
          "slow-known": layers.slow_known}


def perform(bench, cases):
    perform_on_files(bench, cases, DATA_SETS, DigestCheck, LAYERS)


URING = ringmill("sha256")
THREADS = ringmill("sha256", "--engine threads")
TWO, SIXTEEN, SIXTY_FOUR = (pool(threads, "sha256") for threads in (2, 16, 64))


def case(data, title, *pools):
    return Case(f"blocking-{data}", f"SHA-256 of small files, hot, {title}", data,
                [URING, THREADS, *pools, earlier(URING), earlier(THREADS)], alternates=True,
                counts_switches=True)


CASES = [
    case("overlay", "overlayfs", TWO, SIXTEEN, SIXTY_FOUR),
    case("ext4", "ext4", TWO),
    case("bindfs", "bindfs", TWO, SIXTEEN, SIXTY_FOUR),
    # Two threads would take a minute for a run.
    case("slow", "calls that take 5 ms, new names", SIXTEEN, SIXTY_FOUR),
    case("slow-known", "calls that take 5 ms, known names", SIXTEEN, SIXTY_FOUR),
]


def ratio_target(data, one, ratio, against, words, figure="wall"):
    time = "elapsed time" if figure == "wall" else "processor time"
    return RatioTarget(f"{data}, `{one.label}`: ≥ {ratio} × {words}, {time}", f"blocking-{data}",
                       against, ratio, one.label, figure)


TARGETS = [
    *(ratio_target(data, one, 0.95, TWO.label, "two plain threads", figure)
      for data, one in (("overlay", URING), ("overlay", THREADS), ("ext4", THREADS))
      for figure in ("wall", "cpu")),
    *(SwitchTarget(f"overlay, `{one.label}`: context switches per file < 0.1", "blocking-overlay",
                   one.label, 0.1) for one in (URING, THREADS)),
    ratio_target("bindfs", URING, 0.9, (TWO.label, SIXTEEN.label, SIXTY_FOUR.label),
                 "the best of 2, 16 and 64 plain threads"),
    *(ratio_target(data, URING, 0.9, SIXTY_FOUR.label, "64 plain threads")
      for data in ("slow", "slow-known")),
]

# An even number of rounds: half of them run backwards.
SUITE = Suite("blocking", "ringmill hash on file systems whose calls may block", CASES, perform,
              TARGETS, defaults={"files": 60_000, "rounds": 8}, method=METHOD)
