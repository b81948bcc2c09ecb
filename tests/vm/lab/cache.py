"""What the lab downloads and keeps: QEMU, guest kernels with their modules, and a shell.

Everything lies under one folder (`.vm-lab` in the repository, or VM_LAB_DIR). Each artefact is made
in a scratch folder and renamed into place, so that an interrupted download leaves nothing that
looks whole. Deleting the folder is the way to take newer versions.
"""

import fcntl
import lzma
import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import Unavailable, custom
from .packages import Debian, run


@dataclass(frozen=True)
class Kernel:
    """A kernel: the meta package that names it (none: our own), its architecture, the modules guests load, in order."""

    meta: str | None
    architecture: str
    modules: tuple[str, ...]


VFIO = ("irqbypass", "vfio", "vfio_iommu_type1", "vfio-pci-core", "vfio-pci")

KERNELS = {
    # The cloud flavour: a third of the size, and it has VFIO, the Intel IOMMU, interrupt remapping and AER.
    "cloud-amd64": Kernel("linux-image-cloud-amd64", "amd64", VFIO),
    # 16 KiB pages, as on a Raspberry Pi 5.
    "arm64-16k": Kernel("linux-image-arm64-16k", "arm64", ("virtio-iommu", *VFIO)),
    # VFIO device nodes and iommufd.
    "custom-amd64": Kernel(None, "amd64", ()),
}


class Cache:
    """The folder of artefacts; `qemu` and `kernel` make what is not there yet."""

    def __init__(self, home: Path):
        self.home = home
        self.debian = Debian(home / "apt")

    @contextmanager
    def lock(self):
        """One lab at a time makes artefacts and runs."""
        self.home.mkdir(parents=True, exist_ok=True)
        with open(self.home / "lock", "w", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _make(self, name: str, fill) -> Path:
        """The artefact `name`, made by `fill(folder)` if it is not in the cache."""
        place = self.home / name
        if not place.exists():
            scratch = self.home / f"{name}.part"
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(parents=True)
            fill(scratch)
            scratch.rename(place)
        return place

    def qemu(self, architecture: str) -> list[str]:
        """The command that starts QEMU for guests of an architecture, with the path to its firmware."""
        if os.uname().machine != "x86_64":
            raise Unavailable("the lab's QEMU is fetched for x86-64 machines only")

        def fill(root: Path):
            self.debian.unpack_closure(["qemu-system-x86", "qemu-system-arm"], "trixie-backports", root)
            if "vfio-user-pci" not in run(*_qemu_command(root, architecture), "-device", "help"):
                raise Unavailable("the mirror's QEMU has no vfio-user-pci device (it came with 10.1)")

        return _qemu_command(self._make("qemu", fill), architecture)

    def kernel(self, name: str) -> Path:
        """A folder with `vmlinuz` and the modules of KERNELS[name], decompressed."""
        kernel = KERNELS[name]

        def fill(folder: Path):
            if kernel.meta is None:
                return custom.build(self.debian, folder)
            package = self.debian.dependency(f"{kernel.meta}:{kernel.architecture}", "linux-image-")
            tree = folder / "tree"
            self.debian.unpack([package], tree)
            shutil.copy(next(tree.glob("boot/vmlinuz-*")), folder / "vmlinuz")
            for module in kernel.modules:
                _copy_module(tree, module, folder / f"{module}.ko")
            shutil.rmtree(tree)

        return self._make(f"kernel-{name}", fill)

    def busybox(self, architecture: str) -> Path:
        """A static busybox, the guests' whole userland."""
        package = f"busybox-static:{architecture}"
        tree = self._make(f"busybox-{architecture}", lambda folder: self.debian.unpack([package], folder))
        return tree / "usr/bin/busybox"


def _qemu_command(root: Path, architecture: str) -> list[str]:
    """QEMU through its own dynamic loader: it wants a newer libc than this machine may have."""
    usr = root / "usr"
    return [
        str(usr / "lib64/ld-linux-x86-64.so.2"),
        "--library-path",
        str(usr / "lib/x86_64-linux-gnu"),
        str(usr / "bin" / {"amd64": "qemu-system-x86_64", "arm64": "qemu-system-aarch64"}[architecture]),
        "-L",
        str(usr / "share/qemu"),
        "-L",
        str(usr / "share/seabios"),
    ]


def _copy_module(tree: Path, module: str, into: Path):
    """Copies a module, xz-compressed or not, out of an unpacked kernel package, unless it is built in."""
    for found in tree.glob(f"**/kernel/**/{module}.ko*"):
        data = found.read_bytes()
        into.write_bytes(lzma.decompress(data) if found.suffix == ".xz" else data)
        return
    built_in = "".join(path.read_text() for path in tree.glob("**/modules.builtin"))
    if f"/{module}.ko" not in built_in:
        raise Unavailable(f"the kernel package has no module {module}")
