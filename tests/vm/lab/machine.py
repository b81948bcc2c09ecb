"""The QEMU command lines: which machine a guest sees, and where the card sits in it."""

import json
from pathlib import Path

from .scenario import Scenario


def command(qemu: list[str], scenario: Scenario, kernel: Path, initrd: Path, card: Path, report: int) -> list[str]:
    """A PC with an Intel IOMMU and the card behind a root port.

    `card` is the chip's socket and `report` the descriptor of the report port. Always emulated: the
    /dev/kvm of a CI machine is often of a kind that stock kernels hang on. The message time-out is
    raised because QEMU loses step with a peer that answers later than it.
    """
    device = {
        "driver": "vfio-user-pci",
        "id": "card0",
        "bus": "rp0",
        "socket": {"path": str(card), "type": "unix"},
        "x-msg-timeout": 20000,
    }
    return [
        *qemu,
        *("-machine", "q35,kernel-irqchip=split,memory-backend=ram0", "-accel", "tcg", "-cpu", "max", "-smp", "1"),
        *("-m", f"{scenario.memory}M"),
        *("-object", f"memory-backend-memfd,id=ram0,size={scenario.memory}M,share=on"),
        *("-nodefaults", "-display", "none", "-no-reboot"),
        *("-serial", "stdio", "-chardev", f"socket,id=report,fd={report}", "-serial", "chardev:report"),
        *("-device", "intel-iommu,intremap=on,caching-mode=on"),
        *("-device", "pcie-root-port,id=rp0,bus=pcie.0,chassis=1,slot=1"),
        *("-device", json.dumps(device)),
        *("-kernel", str(kernel / "vmlinuz"), "-initrd", str(initrd)),
        *("-append", "console=ttyS0 panic=-1 quiet intel_iommu=on"),
    ]
