"""The directory of a run: `PARENT/<date>-<cpu>-<suite>/`, created when something is written. Paths of
the machine are removed from all texts."""

from __future__ import annotations

import csv
import time

from benchmark.host.machine import cpu_short


class ResultDirectory:
    def __init__(self, parent, name, columns, private_paths):
        self.path = None
        self._parent = parent
        self._stem = f"{time.strftime('%Y-%m-%d')}-{cpu_short()}-{name}"
        self._columns = columns
        texts = {str(path) for path in private_paths} - {"/", "."}
        # The longest first: a directory comes after its content.
        self._private = sorted(texts, key=len, reverse=True)

    def _make(self):
        """A second run on the same day gets a number, so that it does not overwrite the first."""
        number = 1
        while self.path is None:
            path = self._parent / (self._stem if number == 1 else f"{self._stem}-{number}")
            try:
                path.mkdir(parents=True)
                self.path = path
            except FileExistsError:
                number += 1

    def row(self, values):
        """Written at once, so that an interrupted benchmark keeps its results."""
        first = self.path is None
        self._make()
        with open(self.path / "raw.csv", "a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if first:
                writer.writerow(self._columns)
            writer.writerow(self._scrub(str(values.get(column, ""))) for column in self._columns)

    def write(self, name, text):
        self._make()
        (self.path / name).write_text(self._scrub(text), encoding="utf-8")

    def keep_traces(self, directory):
        """Moves the files of DIRECTORY, which are all text, into this one."""
        self._make()
        (self.path / "traces").mkdir(exist_ok=True)
        for file in sorted(directory.iterdir()):
            text = file.read_text(encoding="utf-8")
            (self.path / "traces" / file.name).write_text(self._scrub(text), encoding="utf-8")
            file.unlink()

    def _scrub(self, text):
        for path in self._private:
            text = text.replace(path, "…")
        return text
