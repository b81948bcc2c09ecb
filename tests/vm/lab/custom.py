"""What no Debian kernel has, built from the source of Debian's kernel.

Debian builds neither VFIO's device nodes with iommufd nor VFIO without an IOMMU. For the first there is
a small kernel with everything built in and everything else off, as `custom.config` says. For the second
the one module that holds the switch is built anew for Debian's kernel; all others stay Debian's.
"""

import os
import re
import shutil
from pathlib import Path

from . import Unavailable
from .packages import Debian, run

CONFIG = Path(__file__).with_name("custom.config")
# What the kernel's own build system and its checker of object files need.
TOOLS = ("gcc", "make", "flex", "bison", "bc")
LIBELF = Path("/usr/include/gelf.h")
MAKEFILE = """obj-m := vfio.o
vfio-y := vfio_main.o group.o container.o virqfd.o
ccflags-y := -DCONFIG_VFIO_NOIOMMU=1
"""
# Variables of make for an architecture. Without type information, which would need another tool.
MODULE = ("CONFIG_DEBUG_INFO_BTF_MODULES=",)
MAKE = {
    "amd64": ("CC=gcc", "CROSS_COMPILE=", *MODULE),
    "arm64": ("CC=aarch64-linux-gnu-gcc", "CROSS_COMPILE=aarch64-linux-gnu-", *MODULE),
}


def need(*tools: str):
    """Raises unless these programs are there, and libelf's headers."""
    missing = [tool for tool in tools if not shutil.which(tool)]
    missing += [] if LIBELF.exists() else ["libelf-dev"]
    if missing:
        raise Unavailable(f"a kernel can't be built here: install {' '.join(missing)}")


def kernel(archive: Path, folder: Path):
    """Leaves `vmlinuz` of our own kernel, and `release`, in the folder. Takes minutes, once."""
    need(*TOOLS)
    run("tar", "-xf", archive, "-C", folder)
    source = next(folder.glob("linux-source-*/"))
    run("make", "-s", "allnoconfig", f"KCONFIG_ALLCONFIG={CONFIG}", cwd=source)
    settings = (source / ".config").read_text(encoding="ascii").splitlines()
    wanted = [line for line in CONFIG.read_text(encoding="ascii").splitlines() if line.endswith("=y")]
    if lost := sorted(set(wanted) - set(settings)):
        raise Unavailable(f"this kernel source has no {', '.join(lost)}")
    run("make", "-s", f"-j{os.cpu_count()}", "bzImage", cwd=source)
    shutil.copy(source / "arch/x86/boot/bzImage", folder / "vmlinuz")
    shutil.copy(source / "include/config/kernel.release", folder / "release")
    shutil.rmtree(source)


def noiommu(debian: Debian, archive: Path, release: str, architecture: str, folder: Path):
    """Leaves a `vfio.ko` in the folder that Debian's kernel `release` takes, and that can do without an IOMMU."""
    make = MAKE[architecture]
    need("make", make[0].removeprefix("CC="))
    # The parts of a release's headers: its own, those of all architectures, and programs for this machine.
    version = release[: re.match(r"[\d.]+\+\w+", release).end()]
    headers = f"linux-headers-{release}:{architecture}"
    debian.unpack([headers, f"linux-headers-{version}-common", f"linux-kbuild-{version}:amd64"], folder)
    tree = folder / "usr/src" / f"linux-headers-{release}"
    makefile = tree / "Makefile"
    makefile.write_text(makefile.read_text().replace("/usr/src", str(tree.parent)))
    module = folder / "module"
    module.mkdir()
    run("tar", "-xf", archive, "-C", module, "--strip-components=3", "--wildcards", "*/drivers/vfio/*.[ch]")
    (module / "Makefile").write_text(MAKEFILE)
    run("make", "-s", "-C", tree, f"M={module}", *make, "modules")
    run(f"{make[1].removeprefix('CROSS_COMPILE=')}strip", "--strip-debug", module / "vfio.ko", "-o", folder / "vfio.ko")
    for scratch in (module, folder / "usr", folder / "lib"):
        shutil.rmtree(scratch)
