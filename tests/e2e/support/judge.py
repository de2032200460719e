"""Reads what ringmill wrote, with third-party libraries.

    judge.py schema SCHEMA FILE...   validates JSON documents
    judge.py hlog FILE               prints an interval log as JSON: for each tag its intervals and
                                     the sum of their histograms
    judge.py write FILE              writes an interval log of its own: one interval with a tag, one
                                     without
    judge.py names LIST ROWS SERVER  sends the questions of the list to ADDRESS:PORT, and compares
                                     the rows with the answers, in wire form
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


def names(list_path, rows_path, server):
    import dns.exception
    import dns.message
    import dns.name
    import dns.query

    address, port = server.rsplit(":", 1)
    with open(list_path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    with open(rows_path, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    assert len(rows) == len(lines), f"{len(rows)} rows for {len(lines)} lines"
    differences = 0
    for index, (line, row) in enumerate(zip(lines, rows)):
        name, qtype = line.rsplit(" ", 1)
        query = dns.message.make_query(dns.name.from_text(name), qtype, use_edns=0, payload=1232)
        reply, _ = dns.query.udp_with_fallback(query, address, timeout=10, port=int(port))
        expected = (index, qtype, status_of(reply), sorted(
            (rrset.name.canonicalize(), rrset.rdtype, rdata.to_wire())
            for rrset in reply.answer for rdata in rrset))
        try:
            printed = (row["index"], row["type"], row["status"], sorted(map(record_of, row["answers"])))
        except dns.exception.DNSException as error:
            printed = error
        if printed != expected or "malformed" in row:
            differences += 1
            print(f"{line}\n  expected {expected}\n  printed  {printed}\n  {row}", file=sys.stderr)
    assert differences == 0, f"{differences} differences"


def record_of(record):
    """A record of a row, in wire form."""
    import dns.name
    import dns.rdata
    import dns.rdatatype

    owner = dns.name.from_text(record["name"] or ".").canonicalize()
    rdtype = dns.rdatatype.from_text(record["type"])
    rdata = dns.rdata.from_text("IN", rdtype, record["data"], relativize=False)
    return owner, rdtype, rdata.to_wire()


def status_of(reply):
    """The status that a row must have for this reply."""
    import dns.flags
    import dns.rcode
    import dns.rdatatype

    if reply.rcode() != dns.rcode.NOERROR or reply.answer:
        return dns.rcode.to_text(reply.rcode())
    types = {dns.rdatatype.to_text(rrset.rdtype) for rrset in reply.authority}
    is_referral = "NS" in types and "SOA" not in types and not reply.flags & dns.flags.AA
    return "REFERRAL" if is_referral else "NODATA"


if __name__ == "__main__":
    {"schema": schema, "hlog": hlog, "write": write, "names": names}[sys.argv[1]](*sys.argv[2:])
