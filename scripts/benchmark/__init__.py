"""The harness behind scripts/bench. Python 3.9 or later, standard library only.

    command.py    options and subcommands
    model.py      the parts of a benchmark: contenders, cases, targets, suites
    bench.py      rounds, attempts, and their results
    measure.py    one measured run of one command
    proof.py      whether a run was as hot, cold or slow as it claims
    figures.py    medians, ratios, intervals
    programs.py   the programs that are measured: build, install, versions
    host/         the machine: helper commands, facts, mounts, limits on reads
    endless.py    lists that are too long for a file
    files/        data sets of files, the volumes that hold them, and runs of commands on them
    report/       the result directory: raw.csv, summary.md, charts
    jobs/         for each job of ringmill, its contenders, its cases and the check of its output
    tests/        cd scripts && python3 -m unittest -b

A new job is a package in jobs/ with a list of suites, which is added to jobs/__init__.py. A suite has
a function that performs its cases. It measures scenes: objects with `items`, `bytes` and
`run(contender)`.
"""
