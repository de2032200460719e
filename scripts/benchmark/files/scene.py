"""Runs commands on a list of files: hot, cold, or on a disk with a limit."""

from __future__ import annotations

import dataclasses
import os
import shutil
from contextlib import ExitStack, nullcontext

from benchmark.bench import Run, WrongOutput
from benchmark.files.layers import clear_layers
from benchmark.files.sets import ordered_names, prepare
from benchmark.files.volumes import LoopImage, PlainDirectory
from benchmark.host.mounts import file_system_of
from benchmark.host.read_limit import ReadLimit
from benchmark.host.sampler import Sampler
from benchmark.host.tools import BenchError, uninterrupted
from benchmark.measure import run_measured
from benchmark.proof import (against_cold, against_hot, against_limit, against_others,
                             most_per_second)


class FileScene:
    """One set of files in one order. CHECK compares the output of each run with the others'."""

    def __init__(self, case, data_set, volume, names, check, limit, place, timeout_s):
        self.items, self.bytes = len(names), data_set.bytes
        self._case, self._volume, self._check, self._limit = case, volume, check, limit
        self._place, self._timeout_s = place, timeout_s
        place.list.write_text("".join(name + "\n" for name in names))

    def run(self, contender):
        self._set_temperature()
        shutil.rmtree(self._place.parts, ignore_errors=True)
        self._place.parts.mkdir()
        before = self._volume.counters()
        limited = self._limit.group() if self._limit else nullcontext()
        sampler = Sampler(lambda: self._volume.counters().requests) if self._limit else None
        with limited as group, sampler or nullcontext():
            usage = self._measured(contender.command, group)
        reads = None if before is None else self._volume.counters() - before
        wrong = self._wrong(contender, usage)
        most = most_per_second(sampler.samples) if sampler else None
        return Run(usage, reads, most, wrong=wrong,
                   unproved=self._unproved(usage, reads, sampler))

    def _set_temperature(self):
        if self._case.temperature == "cold":
            self._volume.attach()
            return
        # The data was always read just before the measured command, whatever ran earlier.
        with open(self._place.list) as names, open(os.devnull, "wb") as null:
            run_measured("xargs -n1000 -P2 cat", self._volume.warmed_at, self._place.env, names,
                         null, null, self._timeout_s)
        self._volume.before_run()

    def _measured(self, command, group):
        output = self._place.output
        with open(self._place.list) as names, open(output / "out", "wb") as stdout, \
                open(output / "err", "wb") as stderr:
            return run_measured(command, self._volume.root, self._place.env, names, stdout, stderr,
                                self._timeout_s, group)

    def _wrong(self, contender, usage):
        try:
            require_success(usage, self._place.output / "err")
            self._check.check(contender, self._place.output / "out")
        except WrongOutput as error:
            return str(error)
        return None

    def _unproved(self, usage, reads, sampler):
        """The first reason against the run, or None."""
        reasons = []
        if self._case.temperature == "hot":
            reasons.append(against_hot(usage, reads, self.bytes))
        else:
            reasons.append(against_cold(reads, self.bytes))
        if sampler:
            reasons.append(against_limit(sampler.samples, self._limit.reads_per_second))
        if self._case.others_max is not None:
            reasons.append(against_others(usage, self._case.others_max))
        return next(filter(None, reasons), None)


def require_success(usage, stderr, exit_code=0):
    if usage.exit_code is None:
        raise WrongOutput(f"did not end within {usage.wall_s} s")
    if usage.exit_code != exit_code:
        raise WrongOutput(f"ends with exit code {usage.exit_code}: {last_line(stderr)}")


def last_line(path):
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "nothing on stderr"


# ---------------------------------------------------------------------------------------------
# All cases of a suite


def perform_on_files(bench, cases, data_sets, make_check, layers=None):
    """Prepares each data set once, and measures all of its cases. DATA_SETS: {name: function that
    makes it}. MAKE_CHECK gets the names of the files and the directory that they are relative to.
    LAYERS: {name of the data: file system that is mounted over the volume and measured instead}."""
    kind, cases = possible(bench, cases)
    layers = layers or {}
    clear_layers(bench.workplace.data)
    for name, make in data_sets.items():
        wanted = [case for case in cases if case.data == name]
        if not wanted:
            continue
        data_set = make(bench.options)
        place = bench.workplace
        first = data_set.stem not in place.volumes
        volume = place.volumes.setdefault(data_set.stem, kind(place.data / data_set.stem))
        try:
            prepare(data_set, volume, bench.options.seed, bench.options.fresh and first)
            bench.facts.update(volume.facts())
            perform_cases(bench, wanted, data_set, volume, make_check, layers.get(name))
        finally:
            with uninterrupted():
                volume.close()


def perform_cases(bench, cases, data_set, volume, make_check, layer):
    with ExitStack() as stack:
        if layer:
            try:
                volume = stack.enter_context(layer(volume, bench.workplace))
            except BenchError as error:
                for case in cases:
                    bench.note(f"{case.name} is left out: {error}.")
                return
            bench.facts.update(volume.facts())
        for case in cases:
            perform_case(bench, case, data_set, volume, make_check)


def possible(bench, cases):
    """The kind of volume that this machine allows, and the cases that can be measured on it."""
    if os.geteuid() != 0:
        kind, hint = PlainDirectory, ("Without root there are no loop devices: data in a plain "
                                      "directory, hot runs proved by the block reads of the "
                                      "command alone, no cold runs.")
    elif file_system_of(bench.workplace.data) in ("tmpfs", "ramfs"):
        kind, hint = LoopImage, "The work directory is in memory: no cold runs."
    else:
        return LoopImage, cases
    bench.note(hint)
    return kind, [case for case in cases if case.temperature != "cold"]


def perform_case(bench, case, data_set, volume, make_check):
    if case.temperature == "hot" and case.others_max is None:
        case = dataclasses.replace(case, others_max=bench.options.others_max)
    limit = None
    if case.reads_per_second:
        try:
            limit = ReadLimit(volume.image, case.reads_per_second)
            with limit.group():
                pass
        except BenchError as error:
            bench.note(f"{case.name} is left out: {error}.")
            return
        bench.facts["Limit on reads"] = f"{case.reads_per_second:,}/s, {limit.means}"
    asked = bench.options.orders if len(data_set.files) > 1 else None
    for order in asked or case.variants:
        names = ordered_names(data_set, volume, order, bench.options.seed)
        scene = FileScene(case, data_set, volume, names, make_check(names, volume.root), limit,
                          bench.workplace, bench.options.run_timeout)
        bench.run_case(case, order, scene)
