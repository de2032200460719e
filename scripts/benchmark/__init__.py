"""The harness behind scripts/bench. Python 3.9 or later, standard library only.

    command.py    options and subcommands
    model.py      what a benchmark is made of: contenders, cases, targets, suites
    bench.py      rounds, attempts, and what was measured
    measure.py    one measured run of one command
    proof.py      whether a run was as hot, cold or slow as it claims
    figures.py    medians, ratios, intervals
    programs.py   the programs that are measured: build, install, versions
    host/         the machine: helper commands, facts, mounts, limits on reads
    endless.py    lists that are too long for a file
    files/        data sets of files, where they live, and how a command is run on them
    report/       the result directory: raw.csv, summary.md, charts
    jobs/         for each job of ringmill its contenders, cases and the check of the output
    tests/        cd scripts && python3 -m unittest -b

A new job is a package in jobs/ that has a list of suites, added to jobs/__init__.py. A suite says
how its cases are performed; what is performed is a scene, an object with `items`, `bytes` and
`run(contender)`.
"""
