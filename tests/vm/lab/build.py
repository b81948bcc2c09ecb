"""What goes into a guest: our tool, the shell library, the scenario."""

import os
import shutil
import subprocess
from pathlib import Path

from . import Unavailable
from .cache import KERNELS, Cache
from .guest import Failure
from .initramfs import Initramfs
from .scenario import Scenario

MUSL = "x86_64-unknown-linux-musl"


def hailoctl(repository: Path) -> Path:
    """The release `hailoctl`: VM_LAB_HAILOCTL, else built now (static where the musl target is installed)."""
    if chosen := os.environ.get("VM_LAB_HAILOCTL"):
        return Path(chosen).resolve(strict=True)
    if not shutil.which("cargo"):
        raise Unavailable("cargo is not installed and VM_LAB_HAILOCTL is not set")
    sysroot = subprocess.run(["rustc", "--print", "sysroot"], cwd=repository, capture_output=True, text=True, check=True)
    static = (Path(sysroot.stdout.strip()) / "lib/rustlib" / MUSL).is_dir()
    target = ["--target", MUSL] if static else []
    subprocess.run(["cargo", "build", "--quiet", "--release", "--bin", "hailoctl", *target], cwd=repository, check=True)
    folder = Path(os.environ.get("CARGO_TARGET_DIR", repository / "target"))
    return folder / (f"{MUSL}/release" if static else "release") / "hailoctl"


def initrd(scenario: Scenario, cache: Cache, tool: Path, guest: Path, logs: Path) -> Path:
    """The guest's whole file system, as an archive in `logs`."""
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
        made = logs / "firmware"
        command = [str(tool), "sim", "mkfw", str(made), *scenario.firmware]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failure(f"hailoctl sim mkfw failed: {done.stderr.strip()}")
        image.tree("firmware", made)
    image.write(logs / "initrd")
    return logs / "initrd"
