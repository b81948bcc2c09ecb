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

# Rust's target for an architecture, and what names a program to use instead of building one.
TARGETS = {
    "amd64": ("x86_64-unknown-linux-musl", "VM_LAB_HAILOCTL"),
    "arm64": ("aarch64-unknown-linux-musl", "VM_LAB_HAILOCTL_ARM64"),
}


@dataclass(frozen=True)
class Kit:
    """Everything a scenario runs with."""

    hailoctl: Path
    qemu: list[str]
    vmlinuz: Path
    initrd: Path
    firmware: Path
    logs: Path


def hailoctl(repository: Path, architecture: str) -> Path:
    """The release `hailoctl` for an architecture: VM_LAB_HAILOCTL (VM_LAB_HAILOCTL_ARM64), else built now.

    Static where the target is installed; what other machines run is always so, as no C compiler is needed.
    """
    target, variable = TARGETS[architecture]
    if chosen := os.environ.get(variable):
        return Path(chosen).resolve(strict=True)
    if not shutil.which("cargo"):
        raise Unavailable(f"cargo is not installed and {variable} is not set")
    sysroot = Path(run("rustc", "--print", "sysroot", cwd=repository).strip())
    static = (sysroot / "lib/rustlib" / target).is_dir()
    if not static and architecture != "amd64":
        raise Unavailable(f"no Rust for {architecture}: rustup target add {target}")
    linker = f"CARGO_TARGET_{target.upper().replace('-', '_')}_LINKER"
    env = os.environ if architecture == "amd64" else {linker: "rust-lld", **os.environ}
    command = ["cargo", "build", "--quiet", "--release", "--bin", "hailoctl"]
    command += ["--target", target] if static else []
    if subprocess.run(command, cwd=repository, env=env, check=False).returncode != 0:
        raise Failure(f"hailoctl does not build for {architecture}")
    folder = Path(os.environ.get("CARGO_TARGET_DIR", repository / "target"))
    return folder / (f"{target}/release" if static else "release") / "hailoctl"


def kit(scenario: Scenario, cache: Cache, repository: Path, guest: Path, logs: Path) -> Kit:
    """Gathers what the scenario runs with; `guest` holds what every guest gets."""
    tool = hailoctl(repository, "amd64")
    architecture, kernel = KERNELS[scenario.kernel].architecture, cache.kernel(scenario.kernel)
    modules = {name: path for name, path in kernel.modules.items() if scenario.vfio or "vfio" not in name}
    image = Initramfs()
    for folder in ("proc", "sys", "dev", "tmp", "bin"):
        image.folder(folder)
    image.data("bin/busybox", cache.busybox(architecture).read_bytes(), 0o755)
    image.data("init", (guest / "init").read_bytes(), 0o755)
    for functions in guest.glob("*.sh"):
        image.file(f"lab/{functions.name}", functions)
    image.data("lab/scenario.sh", scenario.path.read_bytes())
    image.data("lab/modules", "".join(f"{module}\n" for module in modules).encode())
    for module, path in modules.items():
        image.file(f"lab/{module}.ko", path)
    if scenario.tool:
        image.program("bin/hailoctl", hailoctl(repository, architecture))
    if scenario.firmware is not None:
        command = [str(tool), "sim", "mkfw", str(logs / "firmware"), *scenario.firmware]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode != 0:
            raise Failure(f"hailoctl sim mkfw failed: {made.stderr.strip()}")
        image.tree("firmware", logs / "firmware")
    if scenario.udev:
        image.foreign_program("bin/udevadm", cache.udev())
        image.data("lib/systemd/systemd-udevd", (cache.udev() / "bin/udevadm").read_bytes(), 0o755)
        image.tree("repository/udev", repository / "udev")
    for path in scenario.files:
        whole = repository / path
        if whole.is_dir():
            image.tree(f"repository/{path}", whole)
        else:
            image.file(f"repository/{path}", whole)
    image.write(logs / "initrd")
    return Kit(tool, cache.qemu(architecture), kernel.vmlinuz, logs / "initrd", logs / "firmware", logs)
