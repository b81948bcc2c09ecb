"""Scenarios: shell files that run in a guest, with what they need stated in their first lines.

# about: one line for `vm-lab list`
# kernels: cloud-amd64         names in cache.KERNELS; the scenario runs once on each
# tool: yes                    the guest needs `hailoctl`, so it must be one that runs there
# sim: --profile pi5-gen2-x1   further arguments of `hailoctl sim`
# firmware: --release 5.2.0    arguments of `hailoctl sim mkfw`; the set lies in /firmware
# arrives: yes                 afterwards the chip must have the set, unaltered, and complain of nothing
# chip: interrupts_sent>=1000  what the chip must have counted (chip.COUNTED), afterwards
# udev: yes                    the guest has systemd-udevd and the rules of this repository
# files: hw-tests tests/vm     files and folders of the repository that lie in /repository
# real: yes                    hw-tests/run runs it on real cards, too
# machine: iommu               or one of machine.VARIANTS
# port: root                   or one of machine.PORTS: what the card sits behind
# vfio: no                     VFIO's modules stay out
# memory: 256                  MiB of guest memory
# timeout: 600                 seconds until a guest has failed: many times what it takes, for slow machines
# boots: 1                     guests, one after the other, on the same chip
"""

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path


CONVERT = {
    "sim": shlex.split,
    "firmware": shlex.split,
    "tool": "yes".__eq__,
    "arrives": "yes".__eq__,
    "chip": str.split,
    "udev": "yes".__eq__,
    "files": str.split,
    "port": str,
    "vfio": "yes".__eq__,
    "machine": str,
    "memory": int,
    "timeout": int,
    "boots": int,
}


@dataclass
class Scenario:
    """One scenario file on one kernel."""

    name: str
    path: Path
    about: str
    kernel: str
    tool: bool = False
    sim: list[str] = field(default_factory=list)
    firmware: list[str] | None = None
    arrives: bool = False
    chip: list[str] = field(default_factory=list)
    udev: bool = False
    files: list[str] = field(default_factory=list)
    machine: str = "iommu"
    port: str = "root"
    vfio: bool = True
    memory: int = 256
    timeout: int = 600
    boots: int = 1


def load(path: Path) -> list[Scenario]:
    """Reads the settings in the leading comment of a scenario; an unknown one is an error."""
    settings: dict = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if match := re.fullmatch(r"# (\w+): (.+)", line):
            settings[match[1]] = match[2].strip()
    settings.pop("real", None)
    kernels = settings.pop("kernels", "cloud-amd64").split()
    for key, convert in CONVERT.items():
        if key in settings:
            settings[key] = convert(settings[key])
    try:
        return [Scenario(f"{path.stem}@{kernel}", path, kernel=kernel, **settings) for kernel in kernels]
    except TypeError as error:
        raise SystemExit(f"{path}: {error}") from error


def load_all(folder: Path) -> list[Scenario]:
    """Every scenario on each of its kernels, by name."""
    return [scenario for path in sorted(folder.glob("*.sh")) for scenario in load(path)]
