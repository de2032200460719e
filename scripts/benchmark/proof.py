"""Checks whether a run was what it claims to be. Each check returns None, or the reason against the
run."""

from __future__ import annotations

# A hot run may read this share of the data's size from a device.
HOT_SHARE_MAX = 0.01
SECTOR_BYTES = 512

# The kernel accounts processor time in ticks of up to 10 ms, on each of several counters.
TICKS_S = 0.03

# The kernel allows reads in slices of this length, so any window may contain one slice more; the
# rest of the tolerance is for clocks that are read before the counter.
SLICE_S = 0.1
WINDOW_S = 1.0
RATE_SLACK = 1.02


def against_hot(usage, reads, data_bytes):
    """READS: those of the device behind the data, or None if nothing counts them."""
    sectors_max = int(data_bytes * HOT_SHARE_MAX / SECTOR_BYTES)
    if reads is not None and reads.sectors > sectors_max:
        return f"not hot: {reads.sectors} sectors were read from the device"
    if usage.blocks_read > sectors_max:
        return f"not hot: the command read {usage.blocks_read} blocks, if not of the data"
    return None


def against_cold(reads, data_bytes):
    enough = reads is not None and reads.bytes >= data_bytes
    return None if enough else "only a part of the data was read from the device"


def against_others(usage, cores_max):
    """CORES_MAX: the number of cores that the rest of the machine may use."""
    if usage.others_cpu_s > cores_max * usage.wall_s + TICKS_S:
        return f"not alone: others used {usage.others_cpu_s / usage.wall_s:.2f} cores"
    return None


def against_limit(samples, reads_per_second):
    """SAMPLES: (seconds, count of reads) from the whole run."""
    most = most_per_second(samples)
    allowed = reads_per_second * (1 + SLICE_S) * RATE_SLACK
    if most > allowed:
        return f"not limited: {most:,.0f} reads in a second"
    return None


def most_per_second(samples):
    """The most reads within any second; a shorter run counts as one second."""
    most, start = 0, 0
    for end, (time, count) in enumerate(samples):
        while time - samples[start][0] > WINDOW_S:
            start += 1
        most = max(most, count - samples[start][1])
    return most
