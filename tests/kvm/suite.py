#!/usr/bin/env python3
"""Debian's KVM on our VT-x: loads kvm_intel with each set of parameters and runs kvm_guest, which drives /dev/kvm.

One machine for each number of vCPUs, and the modules loaded and unloaded in it. See tests/boot/systems.py for how.
"""
import hashlib
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "boot"))
from systems import Failure, Skipped, healthy, power_off, run, same, to_shell  # pylint: disable=wrong-import-position

# What the modules say that they use when they are loaded without parameters: all that Linux 6.1 knows of what we offer.
USED = ("ept", "eptad", "unrestricted_guest", "vpid", "vnmi", "flexpriority", "enable_apicv", "enable_shadow_vmcs", "nested", "pml",
        "preemption_timer")
# Parameters of kvm_intel, and after "kvm:" of kvm. The first set is the default.
PARAMETERS = ("", "ept=0", "unrestricted_guest=0", "enable_apicv=0", "vpid=0", "flexpriority=0", "enable_shadow_vmcs=0", "pml=0",
              "eptad=0", "preemption_timer=0", "vnmi=0", "nested=0", "kvm: tdp_mmu=0",
              "ept=0 vpid=0 flexpriority=0 enable_apicv=0 vnmi=0 preemption_timer=0 nested=0")
PROGRAM_SECONDS = 300


def load(machine, parameters):
    own, _, common = parameters.partition("kvm:")
    machine.shell(f"modprobe kvm {common}".strip())
    machine.shell(f"modprobe kvm_intel {own}".strip())
    values = dict(line.split(":", 1) for line in machine.shell(
        "cd /sys/module/kvm_intel/parameters && grep -s . *; cd /root").splitlines())
    for name in own.split():
        name, value = name.split("=")
        same(f"kvm_intel's parameter {name}", values[name], {"0": "N", "1": "Y"}[value])
    if not parameters:
        same("what kvm_intel uses", [name for name in USED if values[name] != "Y"], [])


def drive(machine):
    """Runs the program; returns how many checks it made."""
    text = machine.shell("kvm_guest || :", PROGRAM_SECONDS)
    failed = [line for line in text.splitlines() if line.startswith("FAIL ")]
    count = re.search(r"^(\d+) passed, (\d+) failed$", text, re.M)
    if failed or not count or count[2] != "0":
        raise Failure("; ".join(failed) or "kvm_guest printed no count")
    return int(count[1])


def kvm(context, cpus):
    if context.qemu:
        raise Skipped("QEMU (TCG) has no VT-x")
    failures, checks = [], 0
    with context.linux("-smp", str(cpus), initrd="initrd-kvm") as machine:
        to_shell(machine)
        for parameters in PARAMETERS:
            try:
                load(machine, parameters)
                checks += drive(machine)
                machine.shell("rmmod kvm_intel && rmmod kvm")
            except Failure as reason:
                failures.append(f"with {parameters or 'no parameters'}: {reason}")
                if not machine.open:
                    break
                machine.shell("rmmod kvm_intel; rmmod kvm; :")
        if failures:
            raise Failure("\n    ".join(failures))
        power_off(machine)
    return f"{len(PARAMETERS)} sets of parameters, {checks} checks"


def test_kvm_1cpu(context):
    """/dev/kvm in Debian on one vCPU, with each set of parameters"""
    return kvm(context, 1)


def test_kvm_2cpu(context):
    """/dev/kvm in Debian on two vCPUs, with each set of parameters"""
    return kvm(context, 2)


def test_qemu(context):
    """QEMU with KVM, inside, boots Debian's kernel as a guest of the guest, which computes and powers off"""
    if context.qemu:
        raise Skipped("QEMU (TCG) has no VT-x")
    script = "uname -r; nproc; seq 1 20000 | sha256sum; grep -c hypervisor /proc/cpuinfo"
    data = b"".join(b"%d\n" % n for n in range(1, 20001))
    with context.linux(initrd="initrd-nested", memory="2G") as machine:
        to_shell(machine)
        machine.shell("modprobe kvm_intel")
        text = machine.shell(
            "qemu-system-x86_64 -accel kvm -cpu host -m 256 -nodefaults -display none -serial stdio -no-reboot "
            f"-kernel /boot/vmlinuz -initrd /boot/initrd -append 'console=ttyS0 panic=-1 run=\"{script}\"' </dev/null", 600)
        version = machine.shell("uname -r")
        machine.shell("rmmod kvm_intel")
        power_off(machine)
    healthy(text)
    found = text.split("SoftVT guest ready\n", 1)[-1].splitlines()[:4]
    same("what the guest's guest said", [line.split("  -")[0] for line in found],
         [version, "1", hashlib.sha256(data).hexdigest(), "1"])


if __name__ == "__main__":
    run("kvm", __doc__, globals(), "amd64/initrd-kvm")
