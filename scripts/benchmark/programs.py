"""The programs that are measured: those of the repository are built; peers are used if they are
installed, or else left out with a note."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from benchmark.commits import cargo_executables, executable_of, full_hash
from benchmark.host.machine import git_describe, version_line
from benchmark.host.tools import REPOSITORY, BenchError, installed, say, tool

# The name of the ringmill of an earlier commit, beside that of this tree.
EARLIER = "earlier-ringmill"

# The option with which each program prints its version; None: it has none of its own.
VERSION_FLAGS = {"ringmill": "--version", EARLIER: "--version", "library": None, "plain_pool": None,
                 "tokio-uring-buffered": None, "xargs": "--version", "sha256sum": "--version",
                 "sha512sum": "--version", "sha1sum": "--version", "md5sum": "--version",
                 "b3sum": "--version", "xxhsum": "--version", "openssl": "version",
                 "parallel": "--version", "hashdeep": "-V", "rhash": "--version",
                 "fclones": "--version", "nsd": "-v", "massdns": None, "adnshost": "--version",
                 "materialize-contenders": None, "imperfect_dns": None, "dnsperf": None,
                 "epoll_connect": None, "nmap": "--version",
                 "unbound": "-V", "nginx": "-v", "ab": "-V", "oha": "--version", "wrk": "-v", "curl": "--version"}

TOKIO_URING = REPOSITORY / "benches" / "tokio_uring"
MATERIALIZE = REPOSITORY / "benches" / "materialize"


def package(directory):
    """Options for cargo to build a package outside the workspace."""
    return ["--locked", "--manifest-path", str(directory / "Cargo.toml"), "--target-dir",
            os.environ.get("CARGO_TARGET_DIR") or str(REPOSITORY / "target")]


# The programs of the repository, and the options for cargo that select them.
BUILT = {"ringmill": ["--bin", "ringmill"],
         "library": ["--bench", "library"],
         "plain_pool": ["--bench", "plain_pool"],
         "imperfect_dns": ["--bench", "imperfect_dns"],
         "epoll_connect": ["--bench", "epoll_connect"],
         "tokio-uring-buffered": package(TOKIO_URING),
         "materialize-contenders": package(MATERIALIZE)}

# Options of `ringmill hash` that write traces, and the suffixes of the files.
TRACES = {"--stats": "json", "--hlog": "hlog"}

DEBIAN_PACKAGES = {"xargs": "findutils", "sha256sum": "coreutils", "b3sum": "b3sum",
                   "xxhsum": "xxhash", "openssl": "openssl", "parallel": "parallel",
                   "hashdeep": "hashdeep", "rhash": "rhash", "mkfs.ext4": "e2fsprogs",
                   "losetup": "mount", "nsd": "nsd", "adnshost": "adns-tools",
                   "dnsperf": "dnsperf", "unbound": "unbound",
                   "bindfs": "bindfs", "fusermount3": "fuse3", "cc": "gcc", "ab": "apache2-utils", "curl": "curl",
                   "nginx": "nginx", "wrk": "wrk", "nmap": "nmap", "unshare": "util-linux", "ip": "iproute2"}
DEBIAN_HEADERS = {"/usr/include/fuse3/fuse_lowlevel.h": "libfuse3-dev"}
CRATES = ["fclones", "oha"]

# Built from source, because no package has it.
MASSDNS = REPOSITORY / "target" / "massdns"
MASSDNS_SOURCE = ["--branch", "v1.1.0", "https://github.com/blechschmidt/massdns"]

SYSTEM_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin:{MASSDNS / 'bin'}"


def earlier(contender):
    """The same command with the earlier ringmill."""
    def renamed(text):
        return text.replace("ringmill", EARLIER, 1)

    programs = tuple(EARLIER if name == "ringmill" else name for name in contender.programs)
    return dataclasses.replace(contender, label=renamed(contender.label), programs=programs,
                               command=renamed(contender.command))


def programs_in(command):
    words = command.split()
    return tuple(name for name in VERSION_FLAGS if name in words)


class Programs:
    """Programs that were found or built; they come first in the PATH of the contenders."""

    def __init__(self, given, directory, traces, commits):
        self.env = {**os.environ, "LC_ALL": "C", "PATH": f"{directory}:{SYSTEM_PATH}"}
        self._given = given  # {name: path or None}
        self._directory = directory
        self._traces = traces
        self._commits = commits  # where earlier commits are built
        self._earlier = None  # the earlier commit that was built
        self._failed = {}  # {name: why it is missing}
        self._help = None

    def build(self, cases, commit=None):
        """Builds the programs of these cases, and puts them in PATH, so that commands are as a user
        types them. COMMIT is that of the earlier ringmill."""
        wanted = {name for case in cases for one in case.contenders for name in one.programs}
        if EARLIER in wanted:
            self._build_earlier(commit)
        for name in BUILT:
            link = self._directory / name
            if name in wanted and name not in self._failed and not link.is_symlink():
                try:
                    link.symlink_to(self._executable(name))
                except BenchError as error:
                    # It needs crates of its own, which are not available everywhere.
                    if name != "tokio-uring-buffered" or self._given[name]:
                        raise
                    say(f"{name}: {error}")
                    self._failed[name] = "could not be built"

    def _build_earlier(self, commit):
        link = self._directory / EARLIER
        link.unlink(missing_ok=True)
        self._failed.pop(EARLIER, None)
        if commit is None:
            self._failed[EARLIER] = "needs --commit"
        else:
            self._earlier = full_hash(commit)
            link.symlink_to(executable_of(self._earlier, self._commits))

    def _executable(self, name):
        path = self._given.get(name) or cargo_executables(*BUILT[name])[name]
        path = Path(path).resolve()
        if not os.access(path, os.X_OK):
            raise BenchError(f"{name}: {path} is not an executable")
        return path

    def available(self, contenders, no_peers):
        """The contenders that can run, and {label: reason} for the others."""
        reasons = {one.label: self._reason_against(one, no_peers) for one in contenders}
        return ([one for one in contenders if not reasons[one.label]],
                {label: reason for label, reason in reasons.items() if reason})

    def _reason_against(self, contender, no_peers):
        if contender.peer and no_peers:
            return "left out on request"
        for name in contender.programs:
            if name in self._failed:
                return f"`{name}` {self._failed[name]}"
            if not installed(name, self.env["PATH"]):
                return f"`{name}` is not installed"
        if contender.needs and not self._ringmill_has(contender.needs):
            return f"this ringmill has no `{contender.needs}`"
        return None

    def _ringmill_has(self, option):
        if self._help is None:
            done = subprocess.run(["ringmill", "hash", "--help"], env=self.env, text=True,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
            self._help = done.stdout
        return re.search(rf"^\s*(-\w, )?{re.escape(option)}\b", self._help, re.M) is not None

    def trace_flags(self, stem):
        """Options that make ringmill write traces, as far as this ringmill has them."""
        return [f"{option} {self._traces / stem}.{suffix}" for option, suffix in TRACES.items()
                if self._ringmill_has(option)]

    @staticmethod
    def with_flags(contender, flags):
        return dataclasses.replace(contender, command=" ".join([contender.command, *flags]))

    def facts(self, contenders):
        """The versions of all programs that ran."""
        ran = {name for contender in contenders for name in contender.programs}
        facts = {"Repository": git_describe()}
        if "ringmill" in ran:
            facts["ringmill's binary"] = self._digest("ringmill")
        if EARLIER in ran:
            facts["Earlier commit"] = self._earlier
            facts["Its binary"] = self._digest(EARLIER)
        if "tokio-uring-buffered" in ran:
            facts["`tokio-uring-buffered`"] = locked_versions(TOKIO_URING, "tokio-uring",
                                                              "io-uring")
        if "materialize-contenders" in ran:
            facts["`materialize-contenders`"] = locked_versions(MATERIALIZE, "futures-util",
                                                                "futures-buffered", "tokio")
            facts["Compiler"] = version_line(["rustc", "--version"], self.env)
        if "massdns" in ran and (MASSDNS / ".git").exists():
            facts["`massdns`"] = tool("git", "-C", MASSDNS, "describe", "--always", "--tags").strip()
        for name, flag in VERSION_FLAGS.items():
            if name in ran and flag:
                path = shutil.which(name, path=self.env["PATH"])
                facts[f"`{name}`"] = version_line([path, flag], self.env)
        return facts

    def _digest(self, name):
        binary = (self._directory / name).read_bytes()
        return f"SHA-256 {hashlib.sha256(binary).hexdigest()[:12]}…"


def locked_versions(directory, *crates):
    lock = (directory / "Cargo.lock").read_text()
    found = dict(re.findall(r'^name = "(.*)"\nversion = "(.*)"$', lock, re.M))
    return ", ".join(f"{crate} {found.get(crate, '?')}" for crate in crates)


def install_peers():
    """`scripts/bench setup`: installs Debian packages, as root or through sudo, and crates by cargo."""
    packages = sorted({package for program, package in DEBIAN_PACKAGES.items()
                       if not installed(program, SYSTEM_PATH)}
                      | {package for header, package in DEBIAN_HEADERS.items()
                         if not Path(header).exists()})
    if packages:
        as_root = [] if os.geteuid() == 0 else ["sudo"]
        apt = [*as_root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq",
               "-o", "DPkg::Lock::Timeout=300"]
        say(f"installing: {' '.join(packages)}")
        run_visibly([*apt, "update"])
        run_visibly([*apt, "install", "--no-install-recommends", "-y", *packages])
    for crate in CRATES:
        if not installed(crate):
            run_visibly(["cargo", "install", "--locked", crate])
    if not installed("massdns", SYSTEM_PATH):
        try:
            run_visibly(["git", "clone", "--quiet", "--depth", "1", *MASSDNS_SOURCE, str(MASSDNS)])
            run_visibly(["make", "-C", str(MASSDNS)])
        except BenchError as error:
            # The benchmarks leave it out, and report that.
            say(f"no massdns: {error}")
    missing = [name for name in [*DEBIAN_PACKAGES, *CRATES]
               if not installed(name, SYSTEM_PATH)]
    if missing:
        raise BenchError(f"installed, but not in PATH: {' '.join(missing)}")
    say("everything is there")


def run_visibly(command):
    try:
        code = subprocess.run(command).returncode
    except FileNotFoundError:
        raise BenchError(f"{command[0]}: not installed") from None
    if code != 0:
        raise BenchError(f"{' '.join(command)} failed")
