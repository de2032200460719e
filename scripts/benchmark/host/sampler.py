"""A counter, read again and again while a command runs."""

from __future__ import annotations

import threading
import time


class Sampler:
    """Reads a counter every few milliseconds while a command runs."""

    INTERVAL_S = 0.02

    def __init__(self, counter):
        self._counter = counter
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.samples = []  # (seconds, count)

    def __enter__(self):
        self._take()
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()
        self._take()

    def _sample(self):
        while not self._ended.wait(self.INTERVAL_S):
            self._take()

    def _take(self):
        self.samples.append((time.perf_counter(), self._counter()))

    def seconds_until(self, count):
        """From the first sample to the first that has at least COUNT; None if none has."""
        start = self.samples[0][0]
        return next((time - start for time, found in self.samples if found >= count), None)
