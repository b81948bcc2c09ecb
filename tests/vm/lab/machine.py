"""The QEMU command lines: which machine a guest sees, and where the card sits in it."""

import json
from pathlib import Path

from .build import Kit
from .cache import KERNELS
from .scenario import Scenario

# Always emulated: the /dev/kvm of a CI machine is often of a kind that stock kernels hang on.
MACHINES = {
    # A PC with an Intel IOMMU that remaps interrupts.
    "amd64": {
        "arguments": [
            *("-machine", "q35,kernel-irqchip=split,memory-backend=ram0", "-accel", "tcg", "-cpu", "max"),
            *("-device", "intel-iommu,intremap=on,caching-mode=on"),
        ],
        "serial": "ttyS",
        # A busy host starves the emulated timer for longer than the kernel's check of it allows.
        "append": "intel_iommu=on no_timer_check",
    },
    # An arm64 board. QEMU refuses a vfio-user device behind an SMMUv3, so its IOMMU is virtio's.
    "arm64": {
        "arguments": [
            *("-machine", "virt,gic-version=3,memory-backend=ram0", "-accel", "tcg", "-cpu", "cortex-a76"),
            *("-device", "virtio-iommu-pci,bus=pcie.0,addr=1"),
        ],
        "serial": "ttyAMA",
        "append": "",
    },
}

# How a machine can differ: arguments of QEMU, and what stands in their place.
VARIANTS = {
    "iommu": {},
    "no-interrupt-remapping": {"intel-iommu,intremap=on,caching-mode=on": "intel-iommu,intremap=off,caching-mode=on"},
}


def command(scenario: Scenario, kit: Kit, card: Path, report: int) -> list[str]:
    """The machine of the scenario's kernel, with the card behind a root port.

    `card` is the chip's socket and `report` the descriptor of the report port. The message time-out is
    raised because QEMU loses step with a peer that answers later than it.
    """
    machine, variant = MACHINES[KERNELS[scenario.kernel].architecture], VARIANTS[scenario.machine]
    device = {
        "driver": "vfio-user-pci",
        "id": "card0",
        "bus": "rp0",
        "socket": {"path": str(card), "type": "unix"},
        "x-msg-timeout": 20000,
    }
    serial, memory = machine["serial"], f"{scenario.memory}M"
    return [
        *kit.qemu,
        *(variant.get(argument, argument) for argument in machine["arguments"]),
        *("-smp", "1", "-m", memory, "-object", f"memory-backend-memfd,id=ram0,size={memory},share=on"),
        *("-nodefaults", "-display", "none", "-no-reboot"),
        *("-serial", "stdio", "-chardev", f"socket,id=report,fd={report}", "-serial", "chardev:report"),
        *("-device", "pcie-root-port,id=rp0,bus=pcie.0,chassis=1,slot=1"),
        *("-device", json.dumps(device)),
        *("-kernel", str(kit.vmlinuz), "-initrd", str(kit.initrd)),
        # What the kernel does not know, it hands to init as environment.
        *("-append", f"console={serial}0 REPORT={serial}1 panic=-1 quiet {machine['append']}"),
    ]
