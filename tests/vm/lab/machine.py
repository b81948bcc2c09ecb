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
        "board": "q35,kernel-irqchip=split",
        "cpu": "max",
        "iommu": "intel-iommu,intremap=on,caching-mode=on",
        "serial": "ttyS",
        # A busy host starves the emulated timer for longer than the kernel's check of it allows.
        "append": "intel_iommu=on no_timer_check",
    },
    # An arm64 board. QEMU refuses a vfio-user device behind an SMMUv3, so its IOMMU is virtio's.
    "arm64": {
        "board": "virt,gic-version=3",
        "cpu": "cortex-a76",
        "iommu": "virtio-iommu-pci,bus=pcie.0,addr=1",
        "serial": "ttyAMA",
        "append": "",
    },
}

# How a machine can differ: what stands in the place of its texts.
VARIANTS = {
    "iommu": {},
    "no-interrupt-remapping": {"intel-iommu,intremap=on,caching-mode=on": "intel-iommu,intremap=off,caching-mode=on"},
    # Boards without an IOMMU have the older interrupt controller.
    "no-iommu": {MACHINES[name]["iommu"]: "" for name in MACHINES} | {"virt,gic-version=3": "virt,gic-version=2"},
}

# What is between the card and the host; the last one is the card's.
ROOT = "pcie-root-port,bus=pcie.0,chassis=1,slot=1"
PORTS = {
    "root": {"rp0": ROOT},
    "narrow": {"rp0": f"{ROOT},x-speed=2_5,x-width=1"},
    "switch": {"rp0": ROOT, "up0": "x3130-upstream,bus=rp0", "dn0": "xio3130-downstream,bus=up0,chassis=2,slot=1"},
}


def command(scenario: Scenario, kit: Kit, card: Path, report: int) -> list[str]:
    """The machine of the scenario's kernel with the card.

    `card` is the chip's socket and `report` the descriptor of the report port. The message time-out is
    raised because QEMU loses step with a peer that answers later than it.
    """
    machine, variant = MACHINES[KERNELS[scenario.kernel].architecture], VARIANTS[scenario.machine]
    board, iommu = (variant.get(machine[part], machine[part]) for part in ("board", "iommu"))
    device = {
        "driver": "vfio-user-pci",
        "id": "card0",
        "bus": list(PORTS[scenario.port])[-1],
        "socket": {"path": str(card), "type": "unix"},
        "x-msg-timeout": 20000,
    }
    plugged = [iommu] if iommu else []
    plugged += [f"{port},id={name}" for name, port in PORTS[scenario.port].items()]
    plugged.append(json.dumps(device))
    serial, memory = machine["serial"], f"{scenario.memory}M"
    return [
        *kit.qemu,
        *("-machine", f"{board},memory-backend=ram0", "-accel", "tcg", "-cpu", machine["cpu"]),
        *("-smp", "1", "-m", memory, "-object", f"memory-backend-memfd,id=ram0,size={memory},share=on"),
        *("-nodefaults", "-display", "none", "-no-reboot"),
        *("-serial", "stdio", "-chardev", f"socket,id=report,fd={report}", "-serial", "chardev:report"),
        *(part for each in plugged for part in ("-device", each)),
        *("-kernel", str(kit.vmlinuz), "-initrd", str(kit.initrd)),
        # What the kernel does not know, it hands to init as environment.
        *("-append", f"console={serial}0 REPORT={serial}1 panic=-1 quiet {machine['append']}"),
    ]
