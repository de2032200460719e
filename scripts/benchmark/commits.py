"""Builds with cargo: the programs of this tree, and ringmill at an earlier commit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

from benchmark.host.tools import REPOSITORY, BenchError, say, tool, uninterrupted


def cargo_executables(*selection, directory=REPOSITORY):
    """`cargo build --release SELECTION`; returns {target name: path of the executable}."""
    command = ["cargo", "build", "--release", *selection,
               "--message-format=json-render-diagnostics"]
    try:
        done = subprocess.run(command, cwd=directory, stdout=subprocess.PIPE, text=True)
    except FileNotFoundError:
        raise BenchError("cargo: not installed") from None
    if done.returncode != 0:
        raise BenchError(f"cargo build --release {' '.join(selection)} failed")
    messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {message["target"]["name"]: Path(message["executable"]) for message in messages
            if message.get("reason") == "compiler-artifact" and message.get("executable")}


def full_hash(commit, repository=REPOSITORY):
    try:
        return tool("git", "-C", repository, "rev-parse", "--verify", "--quiet", "--end-of-options",
                    f"{commit}^{{commit}}").strip()
    except BenchError:
        raise BenchError(f"--commit {commit}: no such commit in this repository") from None


def executable_of(commit, directory, repository=REPOSITORY):
    """ringmill at COMMIT, a full hash: built once, and kept in DIRECTORY under that hash."""
    kept = directory / commit
    if not kept.exists():
        say(f"building ringmill at {commit[:12]}")
        directory.mkdir(parents=True, exist_ok=True)
        with checked_out(commit, directory / f"{commit}.tree", repository) as tree:
            built = cargo_executables("--locked", "--bin", "ringmill", "--target-dir",
                                      str(directory / "target"), directory=tree)
            unfinished = directory / f"{commit}.new"
            shutil.copy2(built["ringmill"], unfinished)
            os.replace(unfinished, kept)
    return kept


@contextmanager
def checked_out(commit, tree, repository=REPOSITORY):
    """A temporary git worktree."""
    remove_worktree(tree, repository)  # left by a run that was killed
    try:
        tool("git", "-C", repository, "worktree", "add", "--force", "--detach", tree, commit)
        yield tree
    finally:
        with uninterrupted():
            remove_worktree(tree, repository)


def remove_worktree(tree, repository):
    tool("git", "-C", repository, "worktree", "remove", "--force", tree, check=False)
    shutil.rmtree(tree, ignore_errors=True)
