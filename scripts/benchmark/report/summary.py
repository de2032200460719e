"""Writes summary.md from the results."""

from __future__ import annotations

import time

from benchmark.figures import median, median_interval, spread
from benchmark.model import CountTarget, MemoryTarget, SwitchTarget, TimeTarget
from benchmark.report import comparison
from benchmark.report.charts import chart_of

METHOD = """\
Three figures in a cell are min / median / max over the rounds; contenders take turns within a
round. "ringmill is × faster" is the median of the ratios within each round (and their range). In
the charts a bar or a point is the median, and the whisker goes from min to max. With six rounds or
more a target also says where the median lies with a confidence of 95 % (by the sign test), and the
ratio of the best run of each.

- Max RSS is that of the largest single process, not the sum of a pipeline. 1 GB = 10⁹ bytes.
"""

OF_COMMANDS = """\
- Runs that were not proved were repeated; raw.csv has every run and why it was discarded.
- The output of all runs was compared with each other, line by line in the order of the list where
  the command promises that order.
"""

ON_FILES = """\
- A *hot* run counts only if no more than 1 % of the data's size was read from the device behind the
  data, nor by the command and its children from any; `xargs -n1000 -P2 cat` read the data just
  before. The column "device reads" has their number.
- A *cold* run starts from a fresh mount on a fresh loop device with direct I/O, and counts only if
  at least the data's size was read from the device.
- Commands run in the root of the data, with relative names (data/…) on stdin; `$LIST` is the same
  list as a file, `$PARTS` an empty directory beside it.
"""

LIMITED = """\
- A run on a *limited* device is cold, and counts only if its device saw no more reads in any second
  than the limit allows, and those of the one slice of a tenth of a second that the kernel grants
  ahead; the counter was read every 20 ms. The limit is on the disk behind the loop device, where
  what the block layer merged counts once. Only the number of reads is limited: a volume in a cloud
  also answers later than this disk does.
"""

ALONE = """\
- Where a difference of a few per cent is looked for, a run counts only if the rest of the machine
  used no more than a fifth of a core during it, or than `--others-max` allows.
"""

SWEEP = """\
- In a sweep, ringmill is compared with the others at the same value on the x axis.
"""


def write_report(bench, suite):
    """Writes summary.md and the charts; raw.csv was written during the runs."""
    cases = [measured.case for measured in bench.measured]
    method = [METHOD]
    method += [OF_COMMANDS] if any(case.unit != "futures" for case in cases) else []
    method += [ON_FILES] if any(case.unit == "files" for case in cases) else []
    method += [suite.method] if suite.method else []
    method += [LIMITED] if any(case.reads_per_second for case in cases) else []
    method += [ALONE] if any(case.others_max for case in cases) else []
    method += [SWEEP] if any(case.x_axis for case in cases) else []
    parts = [f"# {suite.title}, measured on {time.strftime('%Y-%m-%d')}\n",
             *(f"**{note}**\n" for note in bench.notes), "".join(method)]
    if suite.targets:
        rows = [row for target in suite.targets for row in target_rows(bench.measured, target)]
        parts += ["## Targets\n", markdown_table(["target", "measured", "verdict"], rows)]
    compared = comparison.comparison_rows(bench.measured)
    if compared:
        parts += ["## This tree and the earlier commit\n", comparison.METHOD,
                  markdown_table(comparison.HEADER, compared)]
    parts += ["## Machine and programs\n", markdown_table(["what", "value"], bench.facts.items()),
              *failures(bench.measured)]
    for measured in bench.measured:
        parts += [f"## {measured.name}\n", *case_section(bench, measured)]
    bench.results.write("summary.md", "\n".join(parts))


def failures(all_measured):
    rows = [(measured.name, f"`{label}`", why) for measured in all_measured
            for label, why in measured.failures.items()]
    header = ["case", "contender", "what went wrong"]
    return ["## FAILED\n", markdown_table(header, rows)] if rows else []


# ---------------------------------------------------------------------------------------------
# Targets


def target_rows(all_measured, target):
    make_rows = {MemoryTarget: memory_rows, SwitchTarget: switch_rows,
                 CountTarget: count_rows, TimeTarget: time_rows}.get(type(target), ratio_rows)
    return make_rows(all_measured, target)


def ratio_rows(all_measured, target):
    """One row for each variant that was measured."""
    found = [measured for measured in all_measured if measured.case.name == target.case]
    rows = [(target.text if len(found) == 1 else f"{target.text} ({measured.variant})",
             *ratio_verdict(measured, target)) for measured in found]
    return rows or [(target.text, "–", "not run")]


def ratio_verdict(measured, target):
    several = isinstance(target.against, tuple)
    against = measured.quickest(target.against, target.figure) if several else target.against
    ratios = measured.ratios(against, target.ours, target.figure) if against else []
    if not ratios:
        reason = next((why for label, why in measured.left_out.items()
                       if label in (against, target.ours)), "not proved")
        return "–", reason
    details = [f"rounds: {len(ratios)}"] + ([f"against `{against}`"] if several else [])
    between = median_interval(ratios)
    if between:
        best = measured.best_ratio(against, target.ours, target.figure)
        details += [f"95 %: {between[0]:.3f} to {between[1]:.3f}", f"best of each: {best:.3f}"]
    return (f"{median(ratios):.3f} × ({'; '.join(details)})",
            met(median(ratios) >= target.ratio))


def memory_rows(all_measured, target):
    chosen = [measured for measured in all_measured
              if target.case in (None, measured.case.name)]
    if target.case is not None:  # the longest
        chosen = sorted(chosen, key=lambda measured: measured.items)[-1:]
    text = target.text.format(variant=chosen[0].variant if chosen else "longest list")
    peaks = [peak_mib(measured.used(label)) for measured in chosen for label in measured.runs
             if label.startswith("ringmill") and measured.used(label)]
    if not peaks:
        return [(text, "–", "not run")]
    return [(text, f"{max(peaks):.1f} MiB", met(max(peaks) <= target.mib))]


def switch_rows(all_measured, target):
    rows = []
    for measured in all_measured:
        if measured.case.name == target.case and measured.used(target.contender):
            found = [run.usage.switches / measured.items for run in measured.used(target.contender)]
            rows.append((target.text, f"{median(found):.3f} (rounds: {len(found)})",
                         met(median(found) < target.below)))
    return rows or [(target.text, "–", "not run")]


def count_rows(all_measured, target):
    counts = [run.counts[target.count] for measured in all_measured
              if measured.case.name == target.case
              for run in measured.used(target.ours or measured.reference)]
    if not counts:
        return [(target.text, "–", "not run")]
    return [(target.text, f"{max(counts):,}", met(max(counts) <= target.most))]


def time_rows(all_measured, target):
    """The worst round counts."""
    found = [pair for measured in all_measured if measured.case.name == target.case
             for pair in times_and_limits(measured, target)]
    if not found:
        return [(target.text, "–", "not run")]
    took, allowed = max(found, key=lambda pair: pair[0] / pair[1])
    return [(target.text, f"{took:.3f} s of {allowed:.3f} s allowed (worst of {len(found)})",
             met(took <= allowed))]


def times_and_limits(measured, target):
    """For each round in which all needed runs were measured."""
    for number, run in measured.runs.get(target.ours or measured.reference, {}).items():
        others = {label: runs[number] for label, runs in measured.runs.items() if number in runs}
        try:
            yield run.figure(target.figure), target.allowed(others, measured.items)
        except KeyError:
            continue


def met(good):
    return "met" if good else "**missed**"


# ---------------------------------------------------------------------------------------------
# Cases


def case_section(bench, measured):
    """Chart and table of one case."""
    case = measured.case
    data = f"; data: {measured.bytes / 1e9:.3f} GB" if measured.bytes else ""
    lines = [f"{case.unit.capitalize()}: {measured.items:,}{data}.\n"] if case.timed else []
    lines += [f"{case.note}\n"] if case.note else []
    lines += [f"Left out: `{label}`: {why}.\n" for label, why in measured.left_out.items()]
    chart = chart_of(measured, case.unit) if case.timed else None
    if chart:
        name = f"{case.name}-{measured.variant}.svg".replace(" ", "-").replace(",", "")
        bench.results.write(name, chart)
        lines.append(f"![{case.name}, {measured.variant}]({name})\n")
    longer = [(f"`{one.label}`", f"`{one.command}`") for one in measured.contenders
              if one.label != one.command]
    if longer:
        lines.append(markdown_table(["contender", "full command"], longer))
    columns = columns_of(measured, case.unit)
    rows = [(f"`{one.label}`", *row_or_reason(measured, one, columns))
            for one in measured.contenders]
    lines.append(markdown_table(["contender", "runs", *columns], rows))
    return [*lines, noise_line(measured)]


def row_or_reason(measured, contender, columns):
    label = contender.label
    used = measured.used(label)
    if label in measured.failures:
        return ["**FAILED**"]
    if not used:
        return ["**not proved**"]
    missing = measured.unproved[label]
    count = f"{len(used)} ({missing} not proved)" if missing else str(len(used))
    return [count, *(make(contender, used) for make in columns.values())]


def columns_of(measured, unit):
    """{title: function of the contender and its runs}"""
    items, size = measured.items, measured.bytes

    def of_wall(form, figure):
        return lambda _, used: spread([figure(run.usage.wall_s) for run in used], form)

    columns = {"wall s": of_wall("{:.3f}", lambda wall: wall)}
    if not measured.case.timed:
        return {**columns, **count_columns(measured)}
    if measured.case.data == "memory":
        columns["µs per item"] = of_wall("{:.2f}", lambda wall: wall / items * 1e6)
    else:
        columns[f"{unit}/s"] = of_wall("{:,.0f}", lambda wall: items / wall)
    if size and measured.case.data != "memory":
        columns["GB/s"] = of_wall("{:.3f}", lambda wall: size / wall / 1e9)
    columns["user+sys s"] = lambda _, used: spread([run.usage.cpu_s for run in used])
    if measured.case.nanoseconds:
        columns["ns of processor per item"] = \
            lambda _, used: spread([run.usage.cpu_s / items * 1e9 for run in used], "{:.1f}")
        columns["ringmill uses × less processor"] = \
            lambda contender, _: ratio_cell(measured, contender, "cpu")
    elif not size:
        columns["µs of processor per item"] = \
            lambda _, used: spread([run.usage.cpu_s / items * 1e6 for run in used])
    columns |= count_columns(measured)
    if size and measured.case.data != "memory":
        columns["device reads"] = lambda _, used: reads_cell(used)
    if measured.case.counts_switches:
        columns["context switches per item"] = lambda _, used: spread(
            [run.usage.switches / items for run in used])
    if measured.case.reads_per_second:
        columns["most reads in a second"] = \
            lambda _, used: f"{max(run.most_reads_per_s for run in used):,}"
    columns["ringmill is × faster"] = lambda contender, _: ratio_cell(measured, contender)
    return columns


def count_columns(measured):
    """The maximum of each count over the runs, and of the memory."""
    columns = {title: lambda _, used, title=title: most_cell(used, title)
               for title in measured.case.counts}
    return {**columns, "max RSS MiB": lambda _, used: f"{peak_mib(used):.1f}"}


def most_cell(used, title):
    counts = [run.counts[title] for run in used if title in run.counts]
    return f"{max(counts):,}" if counts else "–"


def peak_mib(used):
    return max(run.usage.max_rss_kib for run in used) / 1024


def reads_cell(used):
    reads = [run.reads.requests for run in used if run.reads is not None]
    return f"{median(reads):,.0f}" if reads else "–"


def ratio_cell(measured, contender, figure="wall"):
    reference = measured.reference_for(contender)
    found = measured.ratios(contender.label, reference, figure) if reference else []
    if contender.label == reference or not found:
        return "–"
    return f"**{median(found):.2f}** ({min(found):.2f} to {max(found):.2f})"


def noise_line(measured):
    """How much of the machine everything else used during the runs."""
    usages = [run.usage for label in measured.runs for run in measured.used(label)]
    if not usages:
        return ""
    mean = sum(usage.others_cpu_s for usage in usages) / sum(usage.wall_s for usage in usages)
    most = max(usage.others_cpu_s / usage.wall_s for usage in usages)
    return (f"Everything else on the machine, kernel threads included, used {mean:.2f} cores on "
            f"average, {most:.2f} in the worst run.\n")


def markdown_table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(cell(value) for value in line) + " |\n" for line in lines)


def cell(value):
    return str(value).replace("|", "\\|")
