#!/usr/bin/env python3
"""Debian's Xen on our VT-x: the hypervisor by Multiboot, Debian's kernel as dom0, guests by xl. See tests/boot/systems.py."""
import hashlib
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "boot"))
from systems import ASSETS, Skipped, healthy, run, same, to_shell  # pylint: disable=wrong-import-position

DOM0_SECONDS = 300
GUEST_SECONDS = 600  # an HVM guest's boot is more than twice the instructions of dom0's


def xen(context, *arguments, script=""):
    """A machine on which dom0 gives a shell, or runs the script and powers off."""
    if context.qemu:
        raise Skipped("QEMU (TCG) has no VT-x")
    amd64 = f"{ASSETS}/amd64"
    append = f'run="{script}"' if script else ""
    return context.start("-kernel", f"{amd64}/xen", "-initrd",
                         f"{amd64}/vmlinuz console=hvc0 quiet {append},{amd64}/initrd-xen",
                         "-append", "console=com1 com1=115200,8n1 dom0_mem=600M loglvl=all noreboot", *arguments, memory="1536M")


def domains(machine):
    """What xl list says in dom0's shell: the names of the domains and their megabytes."""
    machine.send("xl list; echo listed'='yes\n")
    return dict(re.findall(r"^(\S+) +\d+ +(\d+) ", machine.expect(r"((?:.|\n)*)listed=yes\n", 60)[1], re.M))


def visit(machine, kind):
    """Goes from dom0's shell to the guest's, sees what it is and that it computes, and is back when it has powered off."""
    machine.send(f"xl console {kind}; echo back'='yes\n")
    to_shell(machine, GUEST_SECONDS)
    found = machine.shell("cat /sys/hypervisor/type /sys/hypervisor/guest_type; nproc").splitlines()
    same("what the guest says of itself", found, ["xen", kind.upper(), "2"])
    data = b"".join(b"%d\n" % n for n in range(1, 20001))
    same("what the guest computes", machine.shell("seq 1 20000 | sha256sum", 60).split()[0], hashlib.sha256(data).hexdigest())
    # Its warnings and worse alone: each character on the HVM guest's serial port is several exits, and dom0's QEMU runs for each.
    healthy(machine.shell("dmesg -r | grep '^<[0-4]>' || :", 60))
    machine.send("exit\n")
    machine.expect(r"back=yes\n", 60)
    machine.send(f"until grep Exiting /var/log/xen/xl-{kind}.log; do sleep 1; done; cat /var/log/xen/xl-{kind}.log\n")
    # SHUTDOWN_poweroff. A PVH guest's ACPI has no S5: its kernel halts with interrupts off, which to Xen is the same.
    machine.expect(r"has shut down, reason code 0 ", 60)


def test_dom0(context):
    """Xen finds VMX with EPT and VPIDs, dom0 gets to a shell, and xl lists it"""
    with xen(context, script="xen_up; xl info; xl list; echo listed=yes") as machine:
        machine.expect(r"VMX: Supported advanced features", 180)
        machine.expect(r"Extended Page Tables \(EPT\)", 10)
        machine.expect(r"HVM: VMX enabled", 10)
        machine.expect(r"Hardware Assisted Paging \(HAP\) detected", 10)
        machine.expect(r"SoftVT guest ready", DOM0_SECONDS)
        machine.expect(r"virt_caps *: pv hvm hap", 120)
        machine.expect(r"Domain-0 +0 +600 ", 60)
        machine.expect(r"listed=yes", 60)
        machine.expect(r"Entering ACPI S5 state", 60)
        machine.wait(60)
        healthy(machine.text)


def test_guests(context):
    """PVH and HVM guests at once, both Debian, by xl on two CPUs: the HVM guest has SeaBIOS, and QEMU for its devices"""
    with xen(context, "-smp", "2") as machine:
        to_shell(machine, DOM0_SECONDS)
        machine.shell("xen_up", 60)
        for kind in ("hvm", "pvh"):
            machine.shell(f"xl create -q /etc/xen/{kind}.cfg", GUEST_SECONDS)
        same("the domains with both guests", domains(machine), {"Domain-0": "600", "hvm": "255", "pvh": "256"})
        for kind in ("pvh", "hvm"):
            visit(machine, kind)
        same("the domains after both guests", domains(machine), {"Domain-0": "600"})
        machine.send("exit\n")
        machine.expect(r"Entering ACPI S5 state", 60)
        machine.wait(60)
        healthy(machine.text)


if __name__ == "__main__":
    run("xen", __doc__, globals(), "amd64/initrd-xen")
