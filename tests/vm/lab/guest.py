"""One run: the software chip's process, QEMU, and the verdict that the guest sends.

The guest has two serial ports. The first is its console, a log for people. The second is the report
port, out of reach of kernel messages:

- `check TEXT` says what was found right,
- `shows WAY WHAT` that this was done by that way to the card,
- `canary PAGES` that so many pages which no device should write are unwritten,
- `kill` asks for the chip's process to be killed; the answer, once it is, is a line `gone`,
- `pass` or `fail TEXT` is the verdict.

QEMU's exit status says nothing and is not looked at.
"""

import hashlib
import json
import os
import re
import selectors
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from . import Failure, machine
from .build import Kit
from .scenario import Scenario

# A guest that lost its card can write log lines without end.
CONSOLE_LIMIT = 4 << 20
# How long the chip's process may take to start, and to end.
CHIP_SECONDS = 60


class Silent(Failure):
    """There was no verdict: the console has to tell."""


@dataclass
class Result:
    """What a passed run has shown."""

    checks: int = 0
    # Ways to the card, and what was done by them.
    shows: list[str] = field(default_factory=list)
    # Pages that were watched, and found unwritten.
    canary: int = 0
    # Stray writes of the chip that reached memory, and that were refused.
    stray: list[int] = field(default_factory=lambda: [0, 0])


class Chip:
    """`hailoctl sim`, serving the software chip on a socket."""

    def __init__(self, hailoctl: Path, path: Path, arguments: list[str], log: Path):
        self.command = [str(hailoctl), "sim", "--socket", str(path), "--stats", "--json", *arguments]
        self.path = path
        self.log = log
        self.process: subprocess.Popen | None = None

    def start(self):
        """Starts the process and waits until it says that it serves."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + CHIP_SECONDS
        while '"event":"serving"' not in self.log.read_text():
            if self.process.poll() is not None:
                raise Failure(f"hailoctl sim ended at once: {last_line(self.log)}")
            if time.monotonic() > deadline:
                raise Failure(f"hailoctl sim does not serve within {CHIP_SECONDS} s")
            time.sleep(0.02)

    def kill(self):
        """Ends the process without a word, as if the card were pulled out."""
        self.process.kill()
        self.process.wait()
        self.process = None

    def stop(self):
        """Ends the process; it must go when asked."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(CHIP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Failure(f"hailoctl sim did not end within {CHIP_SECONDS} s of SIGTERM") from None
        self.process = None

    def stats(self) -> dict:
        """What the chip saw, once it has ended."""
        for line in self.log.read_text().splitlines():
            if line.startswith("{") and (event := json.loads(line))["event"] == "stats":
                return event
        raise Failure("hailoctl sim told no statistics")


class Guest:
    """A running QEMU whose two serial ports are read together."""

    def __init__(self, command: list[str], report: socket.socket, theirs: socket.socket, console: Path):
        self.report = report
        self.console = open(console, "wb", buffering=0)
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
                raise Silent("no verdict within the time limit")
            for key, _ in watch.select(left):
                try:
                    data = os.read(key.fd, 65536)
                except ConnectionResetError:  # QEMU ended with an answer unread.
                    data = b""
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


def run(scenario: Scenario, kit: Kit) -> Result:
    """Runs a scenario to its verdict; raises `Failure` unless it passed.

    A guest is killed once its verdict is in, so that the next one shows what the chip makes of that.
    """
    folder = Path(tempfile.mkdtemp(prefix="vm-lab-"))
    chip = Chip(kit.hailoctl, folder / "card", scenario.sim, kit.logs / "sim.log")
    result = Result()
    try:
        chip.start()
        for number in range(1, scenario.boots + 1):
            boot(scenario, kit, chip, kit.logs / f"console-{number}.log", result)
        if chip.process is not None:
            chip.stop()
            stats = chip.stats()
            result.stray = stats["counters"]["stray_writes"]
            result.checks += counted(stats["counters"], scenario.chip)
            result.checks += arrived(stats, kit.firmware) if scenario.arrives else 0
        return result
    finally:
        chip.stop()
        shutil.rmtree(folder)


# What scenarios can ask of the chip's counters.
COUNTED = {
    "interrupts_raised": lambda counters: counters["interrupts_raised"],
    "interrupts_sent": lambda counters: counters["interrupts_sent"],
    "stray_reached": lambda counters: counters["stray_writes"][0],
    "stray_refused": lambda counters: counters["stray_writes"][1],
}


def counted(counters: dict, wanted: list[str]) -> int:
    """Compares what the chip counted with conditions like `interrupts_sent>=1000`; their number."""
    for condition in wanted:
        name, least, number = re.fullmatch(r"(\w+)(>?)=(\d+)", condition).groups()
        found = COUNTED[name](counters)
        if found < int(number) or (not least and found != int(number)):
            raise Failure(f"the chip counted {name} {found}, wanted {condition}")
    return len(wanted)


def arrived(stats: dict, firmware: Path) -> int:
    """Compares what the chip received with the set that the guest had; the number of files.

    Of the boards' device trees, where there are any, one arrives; of everything else, all.
    """
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in firmware.iterdir()}
    # VFIO resets the card when it is closed; without it the firmware runs on.
    files = [*stats.get("received_before_reset", []), *stats["received"]]
    received = {file["name"]: file["sha256"] for file in files}
    # The chip tells of parts of containers, too; these are in no set.
    received = {name: digest for name, digest in received.items() if name in digests}
    for name, digest in received.items():
        if digests[name] != digest:
            raise Failure(f"{name} arrived as {digest} and is {digests[name]}")
    boards = {name for name in digests if ".dtb." in name}
    if missing := sorted(digests.keys() - boards - received.keys()):
        raise Failure(f"did not arrive: {', '.join(missing)}")
    if boards and len(boards & received.keys()) != 1:
        raise Failure(f"device trees that arrived: {sorted(boards & received.keys())}")
    if stats["complaints"]:
        raise Failure(f"the chip complains: {stats['complaints']}")
    return len(received)


def boot(scenario: Scenario, kit: Kit, chip: Chip, console: Path, result: Result):
    """Boots one guest and follows its report port until the verdict."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = machine.command(scenario, kit, chip.path, theirs.fileno())
        guest = Guest(command, ours, theirs, console)
        theirs.close()
        try:
            follow(guest.lines(time.monotonic() + scenario.timeout), ours, chip, result)
        except Silent as failure:
            raise Failure(f"{failure}; the console ends with: {last_line(console)}") from None
        finally:
            guest.stop()


def follow(lines: Iterable[str], answers: socket.socket, chip: Chip, result: Result):
    """Takes down what the guest reports, up to the verdict `pass`; does what it asks for on the way."""
    for line in lines:
        word, _, rest = line.partition(" ")
        match word:
            case "pass":
                return
            case "fail":
                raise Failure(rest)
            case "check":
                result.checks += 1
            case "shows":
                result.shows.append(rest)
            case "canary":
                result.canary += int(rest)
            case "kill":
                chip.kill()
                answers.sendall(b"gone\n")
    raise Silent("the guest ended without a verdict")


def last_line(log: Path) -> str:
    """The last line of a log that says anything."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "its log is empty"
