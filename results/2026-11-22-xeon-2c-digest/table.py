"""Prints the tables of summary.md from raw.csv: minimum over all rounds, median of the medians."""

import collections
import csv
import pathlib
import statistics

ORDER = ["sha256", "sha512", "sha1", "md5", "blake3", "xxh3", "xxh128", "crc32c"]
CHOSEN = {
    "sha256": "sha2",
    "sha512": "sha2",
    "sha1": "sha1",
    "md5": "fast-md5",
    "blake3": "blake3 hash()",
    "xxh3": "twox-hash oneshot()",
    "xxh128": "twox-hash oneshot()",
    "crc32c": "crc-fast crc32_iscsi()",
}
SMALL, LARGE = 4 << 10, 1 << 20

samples = collections.defaultdict(list)
with open(pathlib.Path(__file__).with_name("raw.csv")) as raw:
    for row in csv.DictReader(raw):
        key = (row["algorithm"], row["build"], row["candidate"], int(row["bytes"]))
        samples[key].append((float(row["min_ns"]), float(row["median_ns"])))


def minimum(key):
    return min(low for low, _ in samples[key])


def median(key):
    return statistics.median(middle for _, middle in samples[key])


def print_table(build, algorithms, keep=lambda candidate: True):
    print(f"\n### build `{build}`\n")
    print("| algorithm | candidate | 4 KiB, ns | median | 1 MiB, GB/s | median | time at 4 KiB, "
          "chosen = 1 | with medians |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for algorithm in algorithms:
        base = (algorithm, "default", CHOSEN[algorithm], SMALL)
        names = [k[2] for k in samples if k[0] == algorithm and k[1] == build and k[3] == SMALL]
        for name in filter(keep, names):
            small, large = ((algorithm, build, name, size) for size in (SMALL, LARGE))
            mark = "**" if build == "default" and name == CHOSEN[algorithm] else ""
            print(
                f"| {algorithm} | {mark}{name}{mark} | {minimum(small):.0f} | {median(small):.0f} "
                f"| {LARGE / minimum(large):.2f} | {LARGE / median(large):.2f} "
                f"| {minimum(small) / minimum(base):.2f} | {median(small) / median(base):.2f} |"
            )


def whole(candidate):
    return "pieces" not in candidate


print_table("default", ORDER, whole)
print_table("blake3-intrinsics", ["blake3"], lambda c: whole(c) and c != "rscrypto")
print_table("blake3-pure", ["blake3"], lambda c: whole(c) and c != "rscrypto")
print_table("native", ["sha512", "sha1", "md5", "xxh3", "xxh128", "crc32c"])
print_table("sha2-soft", ["sha256", "sha512"], lambda c: c == "sha2")

print("\n### BLAKE3, 1 MiB fed in pieces\n")
print("| piece | GB/s | median |\n| --- | ---: | ---: |")
for piece in ("4 KiB", "16 KiB", "64 KiB", "128 KiB", "256 KiB"):
    key = ("blake3", "default", f"blake3 in pieces of {piece}", LARGE)
    print(f"| {piece} | {LARGE / minimum(key):.2f} | {LARGE / median(key):.2f} |")
