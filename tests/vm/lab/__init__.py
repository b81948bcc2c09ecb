"""The VM lab: runs scenarios in QEMU guests with our software chip plugged in as a PCIe card."""


class Unavailable(Exception):
    """This machine lacks something a scenario needs: the scenario is skipped, and loudly."""


class Failure(Exception):
    """The scenario failed; the text says how."""
