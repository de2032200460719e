"""The commands that hash."""

from __future__ import annotations

import dataclasses

from benchmark.model import Contender
from benchmark.programs import programs_in

IN_ORDER = ("plain_pool", "library", "ringmill", "tokio-uring-buffered", "parallel -k")
DESCRIPTORS = 1000  # of 1,024; the rest is for the list, the output and so on


def contender(command, label=None, form="gnu", peer=False, **more):
    return Contender(label or command, command, programs_in(command), form,
                     ordered=(label or command).startswith(IN_ORDER), peer=peer, **more)


def ringmill(algorithm, *flags, **more):
    return contender(" ".join(["ringmill hash -a", algorithm, *flags]), **more)


def pool(threads, algorithm):
    return contender(f"plain_pool --threads {threads} --algorithm {algorithm}")


def library(algorithm):
    return contender(f"library --algorithm {algorithm}")


def tokio_uring(in_flight, algorithm):
    return contender(f"tokio-uring-buffered --in-flight {in_flight} --algorithm {algorithm}")


def xargs(names_at_once, processes, command):
    return contender(f"xargs -n{names_at_once} -P{processes} {command}")


def xargs_parts(names_at_once, processes, command, form="gnu"):
    """For programs that buffer their output: two that write to one file would mix their lines."""
    start = f"xargs -n{names_at_once} -P{processes}"
    exec_line = f"exec {command} \"$@\" >> \"$PARTS\"/$$"
    return contender(f"{start} sh -c '{exec_line}' sh && cat \"$PARTS\"/*",
                     label=f"{start} {command}", form=form)


def parallel(jobs, names_at_once, command):
    return contender(f"parallel -k -j{jobs} -n{names_at_once} {command}", peer=True)


def hashdeep():
    return contender('hashdeep -l -c sha256 -f "$LIST"', "hashdeep -c sha256 -f", form="hashdeep",
                     peer=True)


def rhash():
    return contender('rhash --sha256 --file-list="$LIST"', "rhash --sha256 --file-list", peer=True)


def fclones(algorithm, *flags):
    """fclones looks for duplicates. With a replication factor over 0 it lists every file with the
    digest of its first 4 KiB, which is all of a small file."""
    words = ["fclones group --stdin --rf-over 0 -f csv --hash-fn", algorithm, *flags]
    return contender(" ".join(words), form="fclones", peer=True)


def on_large(command, **more):
    return contender(f"{command} data/large", label=command, **more)


def at(one, series, x):
    """A point of a sweep. Each thread or future holds a descriptor, so the limit is raised where
    the usual 1,024 are too few; ringmill raises it itself."""
    command = one.command
    if x > DESCRIPTORS and one.programs != ("ringmill",):
        command = f'ulimit -n "$(ulimit -H -n)" && {command}'
    return dataclasses.replace(one, command=command, series=series, x=x)
