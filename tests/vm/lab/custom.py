"""A small kernel of our own, for what no Debian kernel has: VFIO device nodes with iommufd.

Built from Debian's kernel source with everything off but what `custom.config` names; all of it built in.
"""

import os
import shutil
from pathlib import Path

from . import Unavailable
from .packages import Debian, run

CONFIG = Path(__file__).with_name("custom.config")
TOOLS = ("gcc", "make", "flex", "bison", "bc")
LIBELF = Path("/usr/include/gelf.h")


def build(debian: Debian, folder: Path):
    """Leaves `vmlinuz` in the folder. Takes minutes, once."""
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    missing += [] if LIBELF.exists() else ["libelf-dev"]
    if missing:
        raise Unavailable(f"a kernel can't be built here: install {' '.join(missing)}")
    debian.unpack([debian.dependency("linux-source", "linux-source-")], folder / "package")
    run("tar", "-xf", next((folder / "package").glob("usr/src/linux-source-*.tar.xz")), "-C", folder)
    source = next(folder.glob("linux-source-*/"))
    run("make", "-s", "allnoconfig", f"KCONFIG_ALLCONFIG={CONFIG}", cwd=source)
    settings = (source / ".config").read_text(encoding="ascii").splitlines()
    wanted = [line for line in CONFIG.read_text(encoding="ascii").splitlines() if line.endswith("=y")]
    if lost := sorted(set(wanted) - set(settings)):
        raise Unavailable(f"this kernel source has no {', '.join(lost)}")
    run("make", "-s", f"-j{os.cpu_count()}", "bzImage", cwd=source)
    shutil.copy(source / "arch/x86/boot/bzImage", folder / "vmlinuz")
    shutil.rmtree(source)
    shutil.rmtree(folder / "package")
