"""What the lab downloads and keeps: QEMU, guest kernels with their modules, and a shell.

Everything lies under one folder (`.vm-lab` in the repository, or VM_LAB_DIR). Each artefact is made
in a scratch folder and renamed into place, so that an interrupted download leaves nothing that
looks whole. Deleting the folder is the way to take newer versions.
"""

import fcntl
import hashlib
import lzma
import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import Unavailable, custom
from .packages import BOOKWORM, TRIXIE, Debian, run


@dataclass(frozen=True)
class Kernel:
    """A kernel that scenarios can ask for."""

    about: str
    architecture: str
    # Size of pages in KiB.
    page: int
    # Debian's flavour; None: our own.
    flavour: str | None
    # What guests load, in order.
    modules: tuple[str, ...] = ()
    # Whether `vfio.ko` is one that can do without an IOMMU, instead of Debian's.
    noiommu: bool = False


# All of the lab's kernels are of this series.
SERIES = "6.12"
REBUILT = "vfio.ko rebuilt with VFIO_NOIOMMU"
VFIO = ("irqbypass", "vfio", "vfio_iommu_type1", "vfio-pci-core", "vfio-pci")

KERNELS = {
    # The cloud flavour: a third of the size, and it has VFIO, the Intel IOMMU, interrupt remapping and AER.
    "cloud-amd64": Kernel("Debian, cloud flavour", "amd64", 4, "cloud-amd64", VFIO),
    "noiommu-amd64": Kernel(f"Debian, cloud flavour, {REBUILT}", "amd64", 4, "cloud-amd64", VFIO, noiommu=True),
    # 16 KiB pages, as on a Raspberry Pi 5.
    "arm64-16k": Kernel("Debian, 16k flavour", "arm64", 16, "arm64-16k", ("virtio-iommu", *VFIO)),
    "noiommu-arm64-16k": Kernel(
        f"Debian, 16k flavour, {REBUILT}", "arm64", 16, "arm64-16k", ("virtio-iommu", *VFIO), noiommu=True
    ),
    # VFIO device nodes and iommufd.
    "custom-amd64": Kernel("our own, tests/vm/lab/custom.config", "amd64", 4, None),
}


@dataclass(frozen=True)
class Boot:
    """What a guest starts with."""

    release: str
    vmlinuz: Path
    # Modules to load, in order; what is built in is left out.
    modules: dict[str, Path]


class Cache:
    """The folder of artefacts; its methods make what is not there yet."""

    def __init__(self, home: Path):
        self.home = home
        self.trixie = Debian(home / "apt", TRIXIE)
        self.bookworm = Debian(home / "apt-bookworm", BOOKWORM)

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
            self.trixie.unpack_closure(["qemu-system-x86", "qemu-system-arm"], "trixie-backports", root)
            if "vfio-user-pci" not in run(*_qemu_command(root, architecture), "-device", "help"):
                raise Unavailable("the mirror's QEMU has no vfio-user-pci device (it came with 10.1)")

        return _qemu_command(self._make("qemu", fill), architecture)

    def kernel(self, name: str) -> Boot:
        """What KERNELS[name] boots with."""
        kernel = KERNELS[name]
        if kernel.flavour is None:
            # Another configuration is another kernel.
            key = hashlib.sha256(custom.CONFIG.read_bytes()).hexdigest()[:12]
            folder = self._make(f"kernel-{name}-{key}", lambda folder: custom.kernel(self._source(), folder))
        else:
            folder = self._make(f"debian-{kernel.flavour}", lambda folder: self._debian(kernel, folder))
        modules = {module: folder / f"{module}.ko" for module in kernel.modules}
        release = (folder / "release").read_text(encoding="ascii").strip()
        if kernel.noiommu:

            def fill(folder: Path):
                archive = self._source(release)
                custom.noiommu(self.bookworm, archive, release, kernel.architecture, folder)

            modules["vfio"] = self._make(f"noiommu-{release}", fill) / "vfio.ko"
        present = {module: path for module, path in modules.items() if path.exists()}
        return Boot(release, folder / "vmlinuz", present)

    def _debian(self, kernel: Kernel, folder: Path):
        """Debian's kernel: `vmlinuz`, its `release`, and the modules, decompressed."""
        meta = f"linux-image-{SERIES}-{kernel.flavour}:{kernel.architecture}"
        tree = folder / "tree"
        self.bookworm.unpack([self.bookworm.dependency(meta, "linux-image-")], tree)
        vmlinuz = next(tree.glob("boot/vmlinuz-*"))
        shutil.copy(vmlinuz, folder / "vmlinuz")
        (folder / "release").write_text(vmlinuz.name.removeprefix("vmlinuz-"), encoding="ascii")
        for module in kernel.modules:
            _copy_module(tree, module, folder / f"{module}.ko")
        shutil.rmtree(tree)

    def _source(self, release: str | None = None) -> Path:
        """The archive with the source of Debian's kernel: of a release, or the one there is, or the newest."""
        version = release.split("+")[0] if release else None
        known = sorted(self.home.glob("source-6*[0-9]"))
        if version is None and known:
            return next(known[-1].glob("*.tar.xz"))

        rows = self.bookworm.apt("apt-cache", "madison", f"linux-source-{SERIES}").splitlines()
        versions = [row.split("|")[1].strip() for row in rows]
        found = [one for one in versions if version is None or one.startswith(f"{version}-")]
        if not found:
            raise Unavailable(f"the mirror has no source of Linux {version} any more; remove {self.home}")

        def fill(folder: Path):
            self.bookworm.unpack([f"linux-source-{SERIES}={found[0]}"], folder / "package")
            archive = next((folder / "package").glob("usr/src/linux-source-*.tar.xz"))
            archive.rename(folder / archive.name)
            shutil.rmtree(folder / "package")

        name = f"source-{version or found[0].split('-')[0]}"
        return next(self._make(name, fill).glob("*.tar.xz"))

    def busybox(self, architecture: str) -> Path:
        """A static busybox, the guests' whole userland."""
        package = f"busybox-static:{architecture}"
        tree = self._make(f"busybox-{architecture}", lambda folder: self.trixie.unpack([package], folder))
        return tree / "usr/bin/busybox"

    def udev(self) -> Path:
        """Debian's udev for amd64 with all that it depends on: a root to copy programs from."""
        return self._make("udev-amd64", lambda folder: self.bookworm.unpack_closure(["udev:amd64"], "bookworm", folder))


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
