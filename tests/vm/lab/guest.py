"""One run: the software chip's process, QEMU, and the verdict that the guest sends.

The guest has two serial ports. The first is its console, a log for people. The second is the report
port, whose lines the lab acts on, out of reach of kernel messages: `check TEXT` (something was found
right), `note TEXT`, `host COMMAND` (a request to the lab), and the verdict, `pass` or `fail TEXT`.
QEMU's exit status says nothing and is not looked at.
"""

import os
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import machine
from .scenario import Scenario

# A guest that lost its card can write log lines without end.
CONSOLE_LIMIT = 4 << 20
CHIP_START_SECONDS = 20


class Failure(Exception):
    """The scenario failed; the text says how."""


@dataclass
class Report:
    """What a guest said before its verdict."""

    checks: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Chip:
    """`hailoctl sim`, serving the software chip on a socket."""

    def __init__(self, hailoctl: Path, path: Path, arguments: list[str], log: Path):
        self.command = [str(hailoctl), "sim", "--socket", str(path), *arguments]
        self.path = path
        self.log = log
        self.process: subprocess.Popen | None = None

    def start(self):
        """Starts the process and waits for its socket."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + CHIP_START_SECONDS
        while not self.path.exists():
            if self.process.poll() is not None:
                raise Failure(f"hailoctl sim ended at once: {last_line(self.log)}")
            if time.monotonic() > deadline:
                raise Failure(f"hailoctl sim made no socket within {CHIP_START_SECONDS} s")
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGTERM):
        """Ends the process; a second call does nothing."""
        if self.process is None:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


class Guest:
    """A running QEMU whose two serial ports are read together."""

    def __init__(self, command: list[str], report: socket.socket, theirs: socket.socket, console: Path):
        self.report = report
        self.console = open(console, "wb")
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(theirs.fileno(),),
        )

    def lines(self, deadline: float):
        """Yields the lines of the report port until QEMU has ended; raises at the deadline."""
        pending = b""
        watch = selectors.DefaultSelector()
        for stream in (self.process.stdout, self.report):
            watch.register(stream, selectors.EVENT_READ)
        while watch.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                raise Failure("no verdict within the time limit")
            for key, _ in watch.select(left):
                data = os.read(key.fd, 65536)
                if not data:
                    watch.unregister(key.fileobj)
                elif key.fileobj is self.report:
                    *whole, pending = (pending + data).split(b"\n")
                    yield from (line.decode(errors="replace").strip() for line in whole)
                else:
                    self.console.write(data[: max(0, CONSOLE_LIMIT - self.console.tell())])

    def stop(self):
        """Ends QEMU and closes the log."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.console.close()


def run(scenario: Scenario, qemu: list[str], kernel: Path, initrd: Path, hailoctl: Path, logs: Path) -> Report:
    """Runs a scenario to its verdict; raises `Failure` when that is not a pass."""
    folder = Path(tempfile.mkdtemp(prefix="vm-lab-"))
    chip = Chip(hailoctl, folder / "card", scenario.sim, logs / "sim.log")
    deadline = time.monotonic() + scenario.timeout
    ours, theirs = socket.socketpair()
    try:
        chip.start()
        command = machine.command(qemu, scenario, kernel, initrd, chip.path, theirs.fileno())
        guest = Guest(command, ours, theirs, logs / "console.log")
        theirs.close()
        try:
            return judge(guest, chip, deadline)
        finally:
            guest.stop()
    finally:
        chip.stop()
        ours.close()
        theirs.close()
        shutil.rmtree(folder)


def judge(guest: Guest, chip: Chip, deadline: float) -> Report:
    """Follows the report port until the verdict."""
    report = Report()
    for line in guest.lines(deadline):
        word, _, rest = line.partition(" ")
        if word == "pass":
            return report
        if word == "fail":
            raise Failure(rest)
        if word == "check":
            report.checks.append(rest)
        elif word == "note":
            report.notes.append(rest)
        elif word == "host":
            guest.report.sendall(serve(chip, rest).encode() + b"\n")
        else:
            raise Failure(f"the guest said what the lab does not know: {line}")
    raise Failure("the guest ended without a verdict")


def serve(chip: Chip, request: str) -> str:
    """Does what a guest asks of the host; the answer is one line, `ok` or `error TEXT`."""
    if request == "chip kill":
        chip.stop(signal.SIGKILL)
        return "ok"
    return f"error unknown request {request}"


def last_line(log: Path) -> str:
    """The last line of a log that says anything."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "its log is empty"
