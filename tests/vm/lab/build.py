"""What a run needs: our tool, QEMU, a kernel, and the guest's file system."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import Failure, Unavailable
from .cache import KERNELS, Cache
from .initramfs import Initramfs
from .packages import run
from .scenario import Scenario

MUSL = "x86_64-unknown-linux-musl"


@dataclass(frozen=True)
class Kit:
    """Everything a scenario runs with."""

    hailoctl: Path
    qemu: list[str]
    vmlinuz: Path
    initrd: Path
    logs: Path


def hailoctl(repository: Path) -> Path:
    """The release `hailoctl`: VM_LAB_HAILOCTL, else built now (static where the musl target is installed)."""
    if chosen := os.environ.get("VM_LAB_HAILOCTL"):
        return Path(chosen).resolve(strict=True)
    if not shutil.which("cargo"):
        raise Unavailable("cargo is not installed and VM_LAB_HAILOCTL is not set")
    sysroot = Path(run("rustc", "--print", "sysroot", cwd=repository).strip())
    static = (sysroot / "lib/rustlib" / MUSL).is_dir()
    target = ["--target", MUSL] if static else []
    command = ["cargo", "build", "--quiet", "--release", "--bin", "hailoctl", *target]
    if subprocess.run(command, cwd=repository, check=False).returncode != 0:
        raise Failure("hailoctl does not build")
    folder = Path(os.environ.get("CARGO_TARGET_DIR", repository / "target"))
    return folder / (f"{MUSL}/release" if static else "release") / "hailoctl"


def kit(scenario: Scenario, cache: Cache, tool: Path, guest: Path, logs: Path) -> Kit:
    """Gathers what the scenario runs with; `guest` holds what every guest gets."""
    architecture, kernel = KERNELS[scenario.kernel].architecture, cache.kernel(scenario.kernel)
    modules = [name for name in KERNELS[scenario.kernel].modules if (kernel / f"{name}.ko").exists()]
    image = Initramfs()
    for folder in ("proc", "sys", "dev", "tmp", "bin"):
        image.folder(folder)
    image.data("bin/busybox", cache.busybox(architecture).read_bytes(), 0o755)
    image.data("init", (guest / "init").read_bytes(), 0o755)
    image.file("lab/lib.sh", guest / "lib.sh")
    image.data("lab/scenario.sh", scenario.path.read_bytes())
    image.data("lab/modules", "".join(f"{module}\n" for module in modules).encode())
    for module in modules:
        image.file(f"lab/{module}.ko", kernel / f"{module}.ko")
    if scenario.tool:
        if architecture != "amd64":
            raise Unavailable(f"hailoctl is not built for {architecture} guests")
        image.program("bin/hailoctl", tool)
    if scenario.firmware is not None:
        command = [str(tool), "sim", "mkfw", str(logs / "firmware"), *scenario.firmware]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode != 0:
            raise Failure(f"hailoctl sim mkfw failed: {made.stderr.strip()}")
        image.tree("firmware", logs / "firmware")
    image.write(logs / "initrd")
    return Kit(tool, cache.qemu(architecture), kernel / "vmlinuz", logs / "initrd", logs)
