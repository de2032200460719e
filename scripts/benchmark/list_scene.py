"""Lists whose items are no files."""

from __future__ import annotations

from benchmark.bench import Run, WrongOutput
from benchmark.files.scene import require_success
from benchmark.measure import run_measured


class ListScene:
    """Runs contenders on the list of `place`. A subclass has `check(contender, path)`, which raises
    WrongOutput if what a contender wrote to the file is not right."""

    def __init__(self, items, place, env, timeout_s):
        self.items, self.bytes = items, 0
        self._place, self._env, self._timeout_s = place, env, timeout_s

    def run(self, contender):
        output = self._place.output
        with open(self._place.list) as items, open(output / "out", "wb") as stdout, \
                open(output / "err", "wb") as stderr:
            usage = run_measured(contender.command, output, self._env, items, stdout, stderr,
                                 self._timeout_s)
        try:
            require_success(usage, output / "err", self.exit_code(contender))
            self.check(contender, output / "out")
        except WrongOutput as error:
            return Run(usage, wrong=str(error))
        return Run(usage)

    def exit_code(self, _contender):
        """The exit code of a run without a fault."""
        return 0
