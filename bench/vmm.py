"""What the VMM costs on softvt, for run.py: a VM exit with the VMM's work for each of some reasons, and Debian's boot in a VM."""
import os
import re
import subprocess

KINDS = (("cpuid", "CPUID"), ("port", "OUT to a port of nobody's"), ("ept", "EPT violation, read of no memory"),
         ("interrupt", "external interrupt, the guest's timer"))  # as exits.c names them


def exits(options, emulator):
    """{kind: (TSC ticks, exits a second of user CPU time)} of tests/vmm/guest/exits.c. Without the preemption timer the
    guest's timer is an external interrupt for the VMM."""
    image = os.path.join(options.build, "tests", "vmm", "exits.bin")
    command = [options.softvt, "-cpu", "max,-vmx-preemption-timer", "-m", "256M", "-display", "none", "-serial", "stdio", "-no-reboot",
               "-kernel", os.path.join(options.build, "vmm", "vmm.elf"), "-initrd", image, "-append", "vm=exits,image=exits.bin"]
    results = {}
    with emulator("softvt").start(command) as machine:
        machine.line(r"exits: begin")
        for kind, _ in KINDS:
            begin, alone = machine.user_seconds(), 0
            if kind == "interrupt":  # they come amid a loop, which has run without them before
                machine.line(r"exits: alone")
                alone, begin = machine.user_seconds() - begin, machine.user_seconds()
            match = machine.line(rf"exits: {kind} (\d+) (\d+)")
            seconds = machine.user_seconds() - begin - alone
            results[kind] = int(match[1]), int(match[2]) / max(seconds, 0.01)
    return results


def instructions(command):
    """How many instructions all vCPUs of a softvt retired until it ended."""
    text = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stderr
    return sum(int(count) for count in re.findall(r"^cpu \d+: (\d+) instructions", text, re.MULTILINE))


def boots(options, assets):
    """Instructions of Debian's boot and power-off: on softvt itself, and in a VM of the VMM."""
    kernel, initrd = (os.path.join(assets, "amd64", file) for file in ("vmlinuz", "initrd"))
    common = [options.softvt, "-m", "1G", "-display", "none", "-serial", "null", "-no-reboot", "-stats"]
    append = "console=ttyS0 run=true"
    bare = instructions(common + ["-kernel", kernel, "-initrd", initrd, "-append", append])
    vmm = instructions(common + ["-kernel", os.path.join(options.build, "vmm", "vmm.elf"), "-initrd", f"{kernel},{initrd}", "-append",
                                 f"vm=debian,mem=768M,kernel=vmlinuz,initrd=initrd,append=\"{append}\""])
    return bare, vmm


def rows(options, emulator, assets):
    """The rows of a table, and its header."""
    results = exits(options, emulator)
    lines = [[title, str(results[kind][0]), f"{results[kind][1] / 1e6:.2f}"] for kind, title in KINDS]
    bare, vmm = boots(options, assets)
    sentence = (f"Debian's boot and power-off in a VM takes {vmm / 1e9:.2f} thousand million instructions in all, on softvt itself "
                f"{bare / 1e9:.2f}: {vmm / bare:.2f} times as many.")
    return ["exit with the VMM's work and VM entry", "TSC ticks", "million a second"], lines, sentence
