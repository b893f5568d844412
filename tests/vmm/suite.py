#!/usr/bin/env python3
"""The VMM (vmm/) on SoftVT, and on Debian's Bochs: its demonstrations, and guests side by side. See tests/boot/systems.py for how."""
import hashlib
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "boot"), os.path.join(HERE, "..", "guest")]
import run as peers  # pylint: disable=wrong-import-position
from systems import ASSETS, READY, ROOT, Failure, Skipped, healthy, run, same  # pylint: disable=wrong-import-position

DEMOS = ("pic", "page-fault", "io", "msr", "ept", "ve", "mtf", "preemption-timer", "posted-interrupt", "real-mode", "tpr")
DEMOS_END = re.compile(r"^demos: (\d+) ok, (\d+) not possible, (\d+) failed\n", re.M)
NO_VE = {"ve": "EPT-violation #VE"}
NO_POSTED = {"posted-interrupt": "Process posted interrupts"}
NO_REAL_MODE = {"real-mode": "Unrestricted guest"}
BOOT_SECONDS = 240
KEY = "\x1d"  # Ctrl-]: the prompt; twice: the next guest


def vmm(context, append, *arguments, modules=(), cpu="max", smp=2, memory="1G"):
    """A machine with the VMM; modules are files."""
    if context.qemu:
        raise Skipped("QEMU (TCG) has no VT-x")
    initrd = ("-initrd", ",".join(modules)) if modules else ()
    return context.start("-kernel", os.path.join(context.build, "vmm", "vmm.elf"), "-append", append, "-cpu", cpu, "-smp", str(smp),
                         *initrd, *arguments, memory=memory)


def flat(context, name):
    """A guest of guest/, built."""
    return os.path.join(context.build, "tests", "vmm", name + ".bin")


def verdicts(text, missing):
    """What demo=all says: those in `missing` are not possible, by the name of what the CPU lacks; the others are ok."""
    expected = {name: f"not possible: this CPU lacks {missing[name]}" if name in missing else "ok" for name in DEMOS}
    said = re.findall(r"^demo ([\w-]+): (ok|FAILED|not possible: .*)\n", text, re.M)
    wrong = [f"{name}: {verdict}, not {expected.get(name)}" for name, verdict in said if verdict != expected.get(name)]
    wrong += [f"{name}: said nothing" for name in DEMOS if name not in dict(said)]
    if wrong:
        raise Failure("; ".join(wrong + re.findall(r"^ +wrong: (.*)\n", text, re.M)))
    same("the count", DEMOS_END.search(text).groups(), (str(len(DEMOS) - len(missing)), str(len(missing)), "0"))
    return f"{len(DEMOS) - len(missing)} ok, {len(missing)} not possible"


def demos(context, cpu, missing, smp=2):
    with vmm(context, "demo=all", cpu=cpu, smp=smp, memory="256M") as machine:
        machine.expect(DEMOS_END.pattern.removeprefix("^"), 60)
        said = verdicts(machine.text, missing)
        machine.wait(30)
        return said


def test_demos_max(context):
    """Every demonstration, on the CPU that has everything"""
    return demos(context, "max", {})


def test_demos_nehalem(context):
    """... on the first CPU with EPT: no unrestricted guest, no APICv, no dirty flags"""
    return demos(context, "Nehalem", NO_VE | NO_POSTED | NO_REAL_MODE)


def test_demos_sandybridge(context):
    """... with unrestricted guest, without APICv"""
    return demos(context, "SandyBridge", NO_VE | NO_POSTED)


def test_demos_ivybridge(context):
    """... with APICv"""
    return demos(context, "IvyBridge", NO_VE)


def test_demos_haswell(context):
    """... with dirty flags and VM functions"""
    return demos(context, "Haswell", NO_VE)


def test_demos_skylake(context):
    """... with all that a server had in 2017"""
    return demos(context, "Skylake-Server", {})


def test_demos_without(context):
    """... with features taken away one by one, and on a single CPU"""
    for cpu, missing in (("max,-vmx-mtf", {"mtf": "Monitor trap flag"}),
                         ("max,-vmx-preemption-timer", {"preemption-timer": "Activate VMX-preemption timer"}),
                         ("max,-vmx-vpid,-vmx-true-ctls", {}),
                         ("max,-vmx-unrestricted-guest", NO_REAL_MODE),
                         ("max,-vmx-apicv-vid", {"posted-interrupt": "Virtual-interrupt delivery"}),
                         ("max,-vmx-flexpriority", {"tpr": "Use TPR shadow", "posted-interrupt": "Use TPR shadow"}),
                         ("max,-vmx-eptp-switching", {"ve": "EPTP switching"})):
        try:
            demos(context, cpu, missing)
        except Failure as reason:
            raise Failure(f"with {cpu}: {reason}") from reason
    return demos(context, "max", {"posted-interrupt": "a second CPU"}, smp=1)


def test_demos_bochs(context):
    """Every demonstration on Debian's Bochs, which shares no code with SoftVT"""
    grub = "multiboot /boot/vmm.elf demo=all\nboot\n"
    text, wrong = peers.bochs({os.path.join(context.build, "vmm", "vmm.elf"): "vmm.elf"}, grub, 2, "corei7_skylake_x", 240, DEMOS_END)
    with open(context.log + ".log", "w", encoding="utf-8") as log:
        log.write(text)
    if wrong:
        raise Failure(wrong)
    return verdicts(text, {})


if __name__ == "__main__":
    run("vmm", __doc__, globals(), "amd64/initrd")
