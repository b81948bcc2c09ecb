"""Scenarios: shell files that run in a guest, with what they need stated in their first lines.

    # about: one line for `vm-lab list`
    # kernel: cloud-amd64          a name in cache.KERNELS
    # sim: --profile pi5-gen2-x1   further arguments of `hailoctl sim`
    # firmware: --release 5.2.0    arguments of `hailoctl sim mkfw`; the set lies in /firmware
    # memory: 256                  MiB of guest memory
    # timeout: 60                  seconds until the scenario has failed
"""

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Scenario:
    """One scenario file and its settings."""

    name: str
    path: Path
    about: str
    kernel: str = "cloud-amd64"
    sim: list[str] = field(default_factory=list)
    firmware: list[str] | None = None
    memory: int = 256
    timeout: int = 60


def load(path: Path) -> Scenario:
    """Reads the settings in the leading comment of a scenario; an unknown one is an error."""
    settings: dict = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if match := re.fullmatch(r"# (\w+): (.+)", line):
            settings[match[1]] = match[2].strip()
    for key in ("sim", "firmware"):
        if key in settings:
            settings[key] = shlex.split(settings[key])
    for key in ("memory", "timeout"):
        if key in settings:
            settings[key] = int(settings[key])
    try:
        return Scenario(name=path.stem, path=path, **settings)
    except TypeError as error:
        raise SystemExit(f"{path}: {error}") from error


def load_all(folder: Path) -> list[Scenario]:
    """Every scenario, by name."""
    return [load(path) for path in sorted(folder.glob("*.sh"))]
