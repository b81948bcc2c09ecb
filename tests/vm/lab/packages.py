"""Debian packages, fetched and unpacked without root and without touching the machine's own apt.

A private apt state with an empty dpkg status makes apt resolve whole dependency closures, libc
included, so the result does not depend on what is installed here. Versions are never pinned: the
mirrors drop old ones, so the candidates of the day are taken once and then kept in the cache.
"""

import os
import shutil
import subprocess
from pathlib import Path

from . import Unavailable

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
DEFAULT_MIRROR = "http://deb.debian.org/debian"
DEFAULT_SECURITY = "http://deb.debian.org/debian-security"
TRIXIE = ("trixie", "trixie-backports")
# Its kernel 6.12 comes with build tools that run on machines as old as Debian 12.
BOOKWORM = ("bookworm", "bookworm-security")


def run(*command, cwd=None, env=None) -> str:
    """Runs a tool that the lab cannot do without; its failure makes the lab unavailable."""
    try:
        done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise Unavailable(f"{command[0]} is not installed") from error
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise Unavailable(f"{' '.join(map(str, command[:2]))} failed: {lines[-1]}")
    return done.stdout


def mirror(suite: str) -> str:
    """The Debian mirror of a suite: VM_LAB_MIRROR (VM_LAB_SECURITY), else what this machine's apt uses."""
    security = suite.endswith("-security")
    if chosen := os.environ.get("VM_LAB_SECURITY" if security else "VM_LAB_MIRROR"):
        return chosen
    rows = run("apt-get", "indextargets", "--format", "$(ORIGIN)|$(REPO_URI)", "Created-By: Packages")
    uris = [row.split("|", 1)[1] for row in rows.splitlines() if row.startswith("Debian|")]
    found = [uri for uri in uris if ("security" in uri) == security]
    return (found or [DEFAULT_SECURITY if security else DEFAULT_MIRROR])[0].rstrip("/")


class Debian:
    """A private apt of some suites under `home`, updated on first use."""

    def __init__(self, home: Path, suites: tuple[str, ...]):
        self.home = home
        self.suites = suites
        self.env = dict(os.environ, APT_CONFIG=str(home / "apt.conf"))
        self.updated = False

    def apt(self, tool: str, *arguments, cwd=None) -> str:
        """Runs apt-get or apt-cache on the private state."""
        if not self.updated:
            self._update()
        return run(tool, *arguments, cwd=cwd, env=self.env)

    def _update(self):
        keyring = Path(os.environ.get("VM_LAB_KEYRING", KEYRING))
        if not keyring.exists():
            raise Unavailable(f"{keyring} is missing: install debian-archive-keyring or set VM_LAB_KEYRING")
        for folder in ("state/lists/partial", "cache/archives/partial"):
            (self.home / folder).mkdir(parents=True, exist_ok=True)
        (self.home / "status").touch()
        options = f"[arch=amd64,arm64 signed-by={keyring}]"
        (self.home / "sources.list").write_text(
            "".join(f"deb {options} {mirror(suite)} {suite} main\n" for suite in self.suites)
        )
        (self.home / "apt.conf").write_text(
            f'Dir::Etc::sourcelist "{self.home}/sources.list";\n'
            'Dir::Etc::sourceparts "/dev/null";\n'
            'Dir::Etc::preferencesparts "/dev/null";\n'
            'Dir::Etc::parts "/dev/null";\n'
            f'Dir::State "{self.home}/state";\n'
            f'Dir::State::status "{self.home}/status";\n'
            f'Dir::Cache "{self.home}/cache";\n'
            'Dir::Cache::pkgcache "";\n'
            'Dir::Cache::srcpkgcache "";\n'
            'APT::Architectures { "amd64"; "arm64"; };\n'
            'APT::Install-Recommends "false";\n'
            'APT::Sandbox::User "root";\n'
            'Acquire::Languages "none";\n'
        )
        run("apt-get", "-qq", "update", "-o", "APT::Update::Error-Mode=any", env=self.env)
        self.updated = True

    def unpack_closure(self, packages: list[str], suite: str, into: Path):
        """Unpacks packages and everything that they depend on."""
        archives = self.home / "cache/archives"
        for old in archives.glob("*.deb"):
            old.unlink()
        self.apt("apt-get", "-qq", "-y", "--download-only", "-t", suite, "install", *packages)
        self._unpack(archives, into)

    def unpack(self, packages: list[str], into: Path):
        """Unpacks exactly these packages."""
        folder = self.home / "single"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.apt("apt-get", "-qq", "download", *packages, cwd=folder)
        self._unpack(folder, into)

    def dependency(self, meta: str, prefix: str) -> str:
        """The package a meta package stands for: its first dependency that starts with `prefix`."""
        for line in self.apt("apt-cache", "depends", meta).splitlines():
            kind, _, name = line.strip().partition("Depends: ")
            if not kind and name.startswith(prefix):
                return name
        raise Unavailable(f"{meta} depends on no {prefix}* package")

    @staticmethod
    def _unpack(folder: Path, into: Path):
        into.mkdir(parents=True, exist_ok=True)
        for archive in sorted(folder.glob("*.deb")):
            run("dpkg-deb", "-x", archive, into)
            archive.unlink()
