#!/usr/bin/env python3
"""Debian's Xen on our VT-x: the hypervisor by Multiboot, Debian's kernel as dom0, guests by xl. See tests/boot/systems.py."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "boot"))
from systems import ASSETS, Skipped, healthy, run  # pylint: disable=wrong-import-position


def xen(context, script, memory="1536M"):
    """A machine on which dom0 runs the script and powers off."""
    if context.qemu:
        raise Skipped("QEMU (TCG) has no VT-x")
    amd64 = f"{ASSETS}/amd64"
    return context.start("-kernel", f"{amd64}/xen", "-initrd",
                         f'{amd64}/vmlinuz console=hvc0 quiet run="{script}",{amd64}/initrd-xen',
                         "-append", "console=com1 com1=115200,8n1 dom0_mem=600M loglvl=all noreboot", memory=memory)


def test_dom0(context):
    """Xen finds VMX with EPT and VPIDs, dom0 gets to a shell, and xl lists it"""
    with xen(context, "xen_up; xl info; xl list; echo listed=yes") as machine:
        machine.expect(r"VMX: Supported advanced features", 180)
        machine.expect(r"Extended Page Tables \(EPT\)", 10)
        machine.expect(r"HVM: VMX enabled", 10)
        machine.expect(r"Hardware Assisted Paging \(HAP\) detected", 10)
        machine.expect(r"SoftVT guest ready", 300)
        machine.expect(r"virt_caps *: pv hvm hap", 120)
        machine.expect(r"Domain-0 +0 +600 ", 60)
        machine.expect(r"listed=yes", 60)
        machine.expect(r"Entering ACPI S5 state", 60)
        machine.wait(60)
        healthy(machine.text)


if __name__ == "__main__":
    run("xen", __doc__, globals(), "amd64/initrd-xen")
