"""How this tree compares with an earlier commit, case by case."""

from __future__ import annotations

from benchmark.figures import median, median_interval

SLOWDOWN_MAX = 1.02  # times what the earlier commit took

HEADER = ["case", "figure", "rounds", "earlier s", "this tree s", "this tree / earlier", "95 %",
          f"≤ {SLOWDOWN_MAX}"]

METHOD = f"""\
Each cell is a median, with min and max over the rounds. The ratio is taken within each round, of
two runs one after the other, and every second round runs backwards; over 1 means that this tree
takes longer. The target is a median ratio of no more than {SLOWDOWN_MAX}, in elapsed (wall) and in
processor time (cpu).
"""


def comparison_rows(all_measured):
    return [(measured.name, figure, *comparison(measured, figure)) for measured in all_measured
            if measured.case.against for figure in ("wall", "cpu")]


def comparison(measured, figure):
    earlier, ours = measured.case.against, measured.reference
    # Above 1: this tree takes longer than the earlier commit.
    ratios = measured.ratios(ours, earlier, figure) if ours else []
    if not ratios:
        return 0, "–", "–", "–", "–", measured.left_out.get(earlier, "not proved")
    between = median_interval(ratios)
    verdict = "met" if median(ratios) <= SLOWDOWN_MAX else "**missed**"
    return (len(ratios), *(middle([run.figure(figure) for run in measured.used(label)])
                           for label in (earlier, ours)),
            middle(ratios), f"{between[0]:.3f} to {between[1]:.3f}" if between else "–", verdict)


def middle(values):
    return f"**{median(values):.3f}** ({min(values):.3f} to {max(values):.3f})"
