"""Initial RAM file systems for guests, written as cpio archives (`newc`) without any tool or root."""

import os
import re
import stat
from pathlib import Path

from .packages import run


class Initramfs:
    """Collects files; `write` makes the archive. Not compressed: the guest reads it from memory."""

    def __init__(self):
        self.entries: dict[str, tuple[int, bytes]] = {}

    def folder(self, path: str):
        """Adds a folder and its parents."""
        parts = path.strip("/").split("/")
        for depth in range(1, len(parts) + 1):
            self.entries.setdefault("/".join(parts[:depth]), (stat.S_IFDIR | 0o755, b""))

    def data(self, path: str, content: bytes, mode: int = 0o644):
        """Adds a file with this content."""
        if parent := os.path.dirname(path.strip("/")):
            self.folder(parent)
        self.entries[path.strip("/")] = (stat.S_IFREG | mode, content)

    def file(self, path: str, source: Path):
        """Adds a copy of a file, with its permission bits."""
        self.data(path, source.read_bytes(), stat.S_IMODE(source.stat().st_mode))

    def tree(self, path: str, source: Path):
        """Adds the regular files of a folder."""
        for found in sorted(source.rglob("*")):
            if found.is_file():
                self.file(f"{path}/{found.relative_to(source)}", found)

    def program(self, path: str, source: Path):
        """Adds a program and, at their own paths, the shared libraries that it loads."""
        self.data(path, source.read_bytes(), 0o755)
        if b"ld-linux" in source.read_bytes()[:8192]:
            for library in re.findall(r"(/\S+) \(0x", run("ldd", source)):
                self.file(library, Path(library))

    def foreign_program(self, path: str, root: Path):
        """Adds a program of an unpacked Debian system for amd64, with its libraries at their own paths."""
        folders = [root / folder for folder in ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib/systemd")]
        loader = root / "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
        self.data(path, (root / path).read_bytes(), 0o755)
        self.data("lib64/ld-linux-x86-64.so.2", loader.read_bytes(), 0o755)
        search = ":".join(map(str, folders))
        for library in re.findall(r"(/\S+) \(0x", run(loader, "--library-path", search, "--list", root / path)):
            if (found := Path(library)).is_relative_to(root):
                self.file(f"lib/x86_64-linux-gnu/{found.name}", found)

    def write(self, target: Path):
        """Writes the archive: folders first, as the kernel wants."""
        with open(target, "wb") as out:
            for number, (path, (mode, content)) in enumerate(sorted(self.entries.items()), start=1):
                _entry(out, number, path, mode, content)
            _entry(out, 0, "TRAILER!!!", 0, b"")


def _entry(out, number: int, path: str, mode: int, content: bytes):
    """One cpio entry: a header of hexadecimal fields, the name, the data, each padded to 4 bytes."""
    name = path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    fields = (number, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(name), 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name
    out.write(head + bytes(-len(head) % 4))
    out.write(content + bytes(-len(content) % 4))
