"""Looks at what ringmill measured, through other people's libraries.

    judge.py schema SCHEMA FILE...   validates JSON documents
    judge.py hlog FILE               prints an interval log as JSON: for each tag its intervals and
                                     the sum of their histograms
    judge.py write FILE              writes an interval log of its own: one interval with a tag, one
                                     without
"""

import json
import sys

MAX_NS = 3_600_000_000_000


def schema(schema_path, *paths):
    from jsonschema import Draft202012Validator

    with open(schema_path, encoding="utf-8") as file:
        known = json.load(file)
    Draft202012Validator.check_schema(known)
    for path in paths:
        with open(path, encoding="utf-8") as file:
            Draft202012Validator(known).validate(json.load(file))


def hlog(path):
    from hdrh.histogram import HdrHistogram
    from hdrh.log import HistogramLogReader

    reader = HistogramLogReader(path, HdrHistogram(1, MAX_NS, 3))
    sums, intervals = {}, {}
    while interval := reader.get_next_interval_histogram():
        tag = interval.get_tag()
        sums.setdefault(tag, HdrHistogram(1, MAX_NS, 3)).add(interval)
        span = [interval.get_start_time_stamp(), interval.get_end_time_stamp()]
        intervals.setdefault(tag, []).append(span)
    print(json.dumps({tag: {
        "intervals_ms": intervals[tag],
        "count": total.get_total_count(),
        "max_ns": total.get_max_value(),
        "buckets_ns": [[bucket.value_iterated_to, bucket.count_at_value_iterated_to]
                       for bucket in total.get_recorded_iterator()],
    } for tag, total in sums.items()}))


def write(path):
    from hdrh.histogram import HdrHistogram
    from hdrh.log import HistogramLogWriter

    histogram = HdrHistogram(1, 10_000_000, 2)
    for value in (1, 10, 100, 1000):
        histogram.record_value(value)
    histogram.set_start_time_stamp(1000)
    histogram.set_end_time_stamp(2000)
    with open(path, "w", encoding="utf-8") as file:
        writer = HistogramLogWriter(file)
        writer.output_log_format_version()
        writer.output_legend()
        # The library reads tags, but does not write them.
        file.write("Tag=B,")
        writer.output_interval_histogram(histogram)
        writer.output_interval_histogram(histogram)


if __name__ == "__main__":
    {"schema": schema, "hlog": hlog, "write": write}[sys.argv[1]](*sys.argv[2:])
