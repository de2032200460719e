"""The report of bench-hash: summary.md out of what was measured."""

from __future__ import annotations

import time

from benchlib import markdown_table, median, spread
from hashcases import MEMORY, RSS_TARGET_MIB, TARGETS

METHOD = """\
Three figures in a cell are min / median / max over the rounds; contenders take turns within a
round. "ringmill is × faster" is the median of the ratios within each round (and their range).

- A *hot* run counts only if no more than 1 % of the data's size was read from the device behind the
  data, nor by the command and its children from any; `xargs -n1000 -P2 cat` read the data just
  before. The column "device reads" tells how many there were.
- A *cold* run starts from a fresh mount on a fresh loop device with direct I/O, and counts only if
  at least the data's size was read from the device.
- Runs that were not proved were repeated; raw.csv has every run and why it was discarded.
- The digests of all runs were compared with each other, line by line in the order of the list
  where the command promises that order.
- Max RSS is that of the largest single process, not the sum of a pipeline. 1 GB = 10⁹ bytes.
- Commands run in the root of the data, with relative names (data/…) on stdin; `$LIST` is the same
  list as a file, `$PARTS` an empty directory beside it.
"""


def write_report(bench, facts, notes):
    """Writes summary.md; raw.csv is there already."""
    parts = [f"# ringmill hash, measured on {time.strftime('%Y-%m-%d')}\n",
             *(f"**{note}**\n" for note in notes), METHOD,
             "## Targets\n", targets_table(bench), "## Machine and programs\n",
             markdown_table(["what", "value"], facts.items())]
    if bench.failures:
        rows = [(f"{case} ({order})", f"`{label}`", why)
                for (case, order, label), why in bench.failures.items()]
        parts += ["## FAILED\n", markdown_table(["case", "contender", "what went wrong"], rows)]
    for key in bench.runs:
        parts += [f"## {key[0]}, {key[1]}\n", *case_section(bench, key)]
    bench.results.summary("\n".join(parts))


def targets_table(bench):
    rows = []
    for target in TARGETS:
        keys = [key for key in bench.runs if key[0] == target.group]
        for key in keys or [(target.group, "")]:
            text = target.text if key[1] in ("", "creation") else f"{target.text} ({key[1]} order)"
            rows.append((text, *verdict(bench, key, target)))
    rows += rss_targets(bench)
    return markdown_table(["target", "measured", "verdict"], rows)


def verdict(bench, key, target):
    """Measured figure and met or missed."""
    runs = bench.runs.get(key, {})
    found = ratios(runs, target.against)
    if not found:
        return "–", "not proved" if runs else "not run"
    return f"{median(found):.2f} × (rounds: {len(found)})", met(median(found) >= target.ratio)


def met(good):
    return "met" if good else "**missed**"


def rss_targets(bench):
    """Over the longest list, and over all runs: ringmill with its default engine."""
    longest = max((key for key in bench.runs if key[0] == MEMORY),
                  key=lambda key: bench.sizes[key][0], default=None)
    selections = [(f"max RSS, {longest[1] if longest else 'longest list'}: ≤ {RSS_TARGET_MIB} MiB",
                   [longest] if longest else []),
                  (f"max RSS, every run of ringmill: ≤ {RSS_TARGET_MIB} MiB", list(bench.runs))]
    rows = []
    for text, keys in selections:
        peaks = [run.usage.max_rss_kib / 1024 for key in keys for label in bench.runs[key]
                 if label.startswith("ringmill") for run in bench.runs[key][label].values()]
        figures = (f"{max(peaks):.1f} MiB", met(max(peaks) <= RSS_TARGET_MIB)) if peaks else \
            ("–", "not run")
        rows.append((text, *figures))
    return rows


def case_section(bench, key):
    """The tables of one case: what was run, and how it went."""
    files, size = bench.sizes[key]
    runs = bench.runs[key]
    lines = [f"Files: {files:,}; data: {size / 1e9:.3f} GB.\n"]
    commands = {label: bench.commands[(*key, label)] for label in runs}
    longer = [(f"`{label}`", f"`{command}`") for label, command in commands.items()
              if label != command]
    if longer:
        lines.append(markdown_table(["contender", "full command"], longer))
    make_row, header = (memory_row, MEMORY_HEADER) if key[0] == MEMORY else (case_row, CASE_HEADER)
    rows = [(f"`{label}`", *row_or_reason(bench, key, label, make_row)) for label in runs]
    lines.append(markdown_table(header, rows))
    return [*lines, noise_line(runs)]


def row_or_reason(bench, key, label, make_row):
    used = bench.runs[key][label]
    if (*key, label) in bench.failures:
        return ["**FAILED**"]
    if not used:
        return ["**not proved**"]
    missing = bench.unproved[(*key, label)]
    count = f"{len(used)} ({missing} not proved)" if missing else str(len(used))
    return [count, *make_row(bench, key, label, list(used.values()))]


CASE_HEADER = ["contender", "runs", "wall s", "files/s", "GB/s", "user+sys s", "max RSS MiB",
               "device reads", "ringmill is × faster"]


def case_row(bench, key, label, used):
    files, size = bench.sizes[key]
    walls = [run.usage.wall_s for run in used]
    reads = [run.reads.requests for run in used if run.reads is not None]
    return [spread(walls, "{:.3f}"),
            spread([files / wall for wall in walls], "{:,.0f}"),
            spread([size / wall / 1e9 for wall in walls], "{:.3f}"),
            spread([run.usage.cpu_s for run in used]),
            f"{peak_mib(used):.1f}",
            f"{median(reads):,.0f}" if reads else "–",
            ratio_cell(bench.runs[key], label)]


MEMORY_HEADER = ["contender", "runs", "wall s", "µs per item", "user+sys s", "max RSS MiB",
                 "ringmill is × faster"]


def memory_row(bench, key, label, used):
    items, _ = bench.sizes[key]
    walls = [run.usage.wall_s for run in used]
    return [spread(walls, "{:.3f}"),
            spread([wall / items * 1e6 for wall in walls]),
            spread([run.usage.cpu_s for run in used]),
            f"{peak_mib(used):.1f}",
            ratio_cell(bench.runs[key], label)]


def peak_mib(used):
    return max(run.usage.max_rss_kib for run in used) / 1024


def reference_label(runs):
    """The ringmill that the ratios are about: the first of a case."""
    return next((label for label in runs if label.startswith("ringmill")), None)


def ratios(runs, label):
    """How many times faster ringmill is than LABEL, for each round that has both."""
    ours, theirs = runs.get(reference_label(runs), {}), runs.get(label, {})
    return [theirs[number].usage.wall_s / ours[number].usage.wall_s
            for number in sorted(ours.keys() & theirs.keys())]


def ratio_cell(runs, label):
    found = ratios(runs, label)
    if label == reference_label(runs) or not found:
        return "–"
    return f"**{median(found):.2f}** ({min(found):.2f} to {max(found):.2f})"


def noise_line(runs):
    """How much of the machine something else used meanwhile."""
    usages = [run.usage for used in runs.values() for run in used.values()]
    if not usages:
        return ""
    mean = sum(usage.others_cpu_s for usage in usages) / sum(usage.wall_s for usage in usages)
    most = max(usage.others_cpu_s / usage.wall_s for usage in usages)
    return (f"Everything else on the machine, kernel threads included, used {mean:.2f} cores on "
            f"average, {most:.2f} in the worst run.\n")
