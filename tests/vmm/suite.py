#!/usr/bin/env python3
"""The VMM (vmm/) on SoftVT, and on Debian's Bochs: its demonstrations, and guests side by side.

See tests/boot/systems.py for how.
"""
import hashlib
import os
import re
import subprocess
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "boot"), os.path.join(HERE, "..", "guest")]
import run as peers  # pylint: disable=wrong-import-position
from systems import ASSETS, Failure, Skipped, healthy, run, same, to_shell  # pylint: disable=wrong-import-position

DEMOS = ("pic", "page-fault", "io", "msr", "ept", "ve", "mtf", "preemption-timer", "posted-interrupt", "real-mode", "tpr")
DEMOS_END = re.compile(r"^demos: (\d+) ok, (\d+) not possible, (\d+) failed\n", re.M)
NO_VE = {"ve": "EPT-violation #VE"}
NO_POSTED = {"posted-interrupt": "Process posted interrupts"}
NO_REAL_MODE = {"real-mode": "Unrestricted guest"}
BOOT_SECONDS = 240
KEY = "\x1d"  # Ctrl-]: the prompt; twice: the next guest
BUILDING = threading.Lock()  # two Ninjas would build the same
LINUX = tuple(f"{ASSETS}/amd64/{file}" for file in ("vmlinuz", "initrd"))


def vmm(context, append, *arguments, modules=(), cpu="max", smp=2, memory="1G"):
    """A machine with the VMM; modules are files."""
    if context.qemu:
        raise Skipped("QEMU (TCG) has no VT-x")
    initrd = ("-initrd", ",".join(modules)) if modules else ()
    return context.start("-kernel", os.path.join(context.build, "vmm", "vmm.elf"), "-append", append,
                         "-cpu", cpu, "-smp", str(smp), *initrd, *arguments, memory=memory)


def debian(name, script="", cpus=1):
    """Of the VMM's command line: a Debian guest with a shell, or one that runs the script. There are no quotes within quotes."""
    script = " run=" + script.replace(" ", "${IFS}") if script else ""
    return f'vm={name},mem=256M,cpus={cpus},kernel=vmlinuz,initrd=initrd,append="console=ttyS0 panic=-1{script}"'


def flat(context, *names):
    """The modules of guests of guest/, and what they are on the command line."""
    files = [os.path.join(context.build, "tests", "vmm", name + ".bin") for name in names]
    targets = [os.path.relpath(file, context.build) for file in files]
    with BUILDING:
        subprocess.run(["ninja", "-C", context.build, "--quiet", *targets], check=True, stdout=subprocess.DEVNULL)
    return files, " ".join(f"vm={name},image={name}.bin" for name in names)


def off(machine, name, heir=""):
    """Leaves the shell of a guest; its init powers it off by ACPI. The heir gets the console, which another CPU may say first."""
    healthy(machine.shell("dmesg"))
    machine.send("exit\n")
    begin = machine.seen
    machine.expect(rf"vmm: vm {name}: powered off\n", 60)
    if heir:
        machine.seen = begin
        machine.expect(rf"vmm: the console is vm {heir}'s\n", 30)


def ends(machine, *names):
    """The VMM ends by itself when all of its VMs have: with statistics of each, VMXOFF everywhere, and ACPI's power-off."""
    for name in names:
        machine.expect(rf"vmm: vm {name}: \d+ VM entries, VM exits:\n(?:.*\n)+? *\d+ +100.0 % +\d+  total\n", 60)
    machine.expect(r"vmm: all VMs are off; VMXOFF on \d CPUs; powering off\n", 30)
    machine.wait(30)


def prompt(machine, command, pattern):
    """Types a command at the VMM's prompt, which shows what is typed; returns the match of what must follow."""
    machine.send(command + "\r")
    match = machine.expect(rf"vmm> {re.escape(command)}\n(?:.*\n)*?{pattern}", 30)
    return match


def switch(machine, name):
    """From one of two guests to the other."""
    machine.send(KEY + KEY)
    machine.expect(rf"vmm: the console is vm {name}'s\n", 30)


def sum_of(lines):
    """What `seq 1 LINES | sha256sum` says."""
    return hashlib.sha256(b"".join(b"%d\n" % n for n in range(1, lines + 1))).hexdigest()


def hashes_are_right(text):
    """The guest hash has done what it does undisturbed: guest/hash.c."""
    digest, chain = bytes(32), {}
    for n in range(1, 20001):
        digest = hashlib.sha256(digest).digest()
        chain[n] = digest.hex()
    said = re.findall(r"hash: (\d+) ([0-9a-f]{64})\n", text)
    same("the number of hashes", len(said), 20)
    wrong = [number for number, value in said if chain[int(number)] != value]
    if wrong:
        raise Failure(f"the chain of hashes is wrong at {wrong[0]}")


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


def test_report(context):
    """The capability MSRs in words, unless told to be quiet"""
    for append in ("", "quiet"):
        with vmm(context, append, cpu="Haswell", smp=1, memory="128M") as machine:
            machine.wait(30)
            same(f"with {append!r}, lines of capability MSRs", len(re.findall(r"^IA32_VMX_\w+, MSR 4\w\w: must ", machine.text, re.M)) > 5, not append)
            same(f"with {append!r}, the absence of EPT-violation #VE", "EPT-violation #VE" in machine.text, not append)


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
                         ("max,-vmx-apicv-vid", NO_POSTED),
                         ("max,-vmx-flexpriority", NO_POSTED | {"tpr": "Use TPR shadow"}),
                         ("max,-vmx-eptad,-vmx-ept-2mb,-vmx-ept-1gb", {}),
                         ("Penryn", dict.fromkeys(DEMOS, "Enable EPT")),
                         ("max,-vmx-eptp-switching", {"ve": "EPTP switching"})):
        try:
            demos(context, cpu, missing)
        except Failure as reason:
            raise Failure(f"with {cpu}: {reason}") from reason
    return demos(context, "max", {"posted-interrupt": "a second CPU"}, smp=1)


def test_bochs(context):
    """Every demonstration, and a 64-bit guest, on Debian's Bochs, which has neither monitor trap flag nor posted interrupts"""
    modules, vms = flat(context, "hash")
    grub = f"multiboot /boot/vmm.elf demo=all {vms} console=all\nmodule /boot/hash.bin hash.bin\nboot\n"
    files = {os.path.join(context.build, "vmm", "vmm.elf"): "vmm.elf", modules[0]: "hash.bin"}
    end = re.compile(r"^vmm: all VMs are off; VMXOFF on 2 CPUs; powering off", re.M)
    text, wrong = peers.bochs(files, grub, 2, "corei7_skylake_x", 240 * context.scale, end)
    with open(context.log + ".log", "w", encoding="utf-8") as log:
        log.write(text)
    if wrong:
        raise Failure(wrong)
    hashes_are_right(text)
    return verdicts(text, NO_POSTED | {"mtf": "Monitor trap flag"})


APIC_END = r"apic: (\d+) checks, (\d+) failures\n"
APIC_MODELS = ("max", "Westmere", "SandyBridge", "IvyBridge", "max,-vmx-apicv-vid", "max,-vmx-apicv-register", "max,-vmx-apicv-xapic",
               "max,-vmx-flexpriority", "max,-vmx-posted-intr", "max,-vmx-preemption-timer")


def apic_is_right(text):
    match = re.search(APIC_END, text)
    wrong = re.findall(r"apic: FAILED: (.*)\n", text)
    if wrong or not match:
        raise Failure("; ".join(wrong) or "the guest has not come to its end")
    return match[1]


def test_apic(context):
    """Interrupts of all kinds, by local APIC, I/O APIC and 8259, with all degrees of APIC virtualization: guest/apic.c"""
    modules, vms = flat(context, "apic")
    for cpu in APIC_MODELS:
        with vmm(context, vms, modules=modules, cpu=cpu, smp=1, memory="256M") as machine:
            machine.expect(APIC_END, 120)
            try:
                checks = apic_is_right(machine.text)
            except Failure as reason:
                raise Failure(f"with {cpu}: {reason}") from reason
            ends(machine, "apic")
    return f"{checks} checks on {len(APIC_MODELS)} CPUs"


def test_apic_bochs(context):
    """The same on Debian's Bochs, without and with virtual-interrupt delivery"""
    modules, vms = flat(context, "apic")
    grub = f"multiboot /boot/vmm.elf {vms}\nmodule /boot/apic.bin apic.bin\nboot\n"
    files = {os.path.join(context.build, "vmm", "vmm.elf"): "vmm.elf", modules[0]: "apic.bin"}
    for cpu in ("corei7_sandy_bridge_2600k", "corei7_skylake_x"):
        text, wrong = peers.bochs(files, grub, 1, cpu, 240 * context.scale, re.compile(r"vmm: all VMs are off"))
        with open(f"{context.log}.{cpu}.log", "w", encoding="utf-8") as log:
            log.write(text)
        if wrong:
            raise Failure(f"{cpu}: {wrong}")
        checks = apic_is_right(text)
    return f"{checks} checks"


def test_debian(context):
    """Debian's kernel to a shell that works, in a VM; off by ACPI, and the VMM after it"""
    with vmm(context, debian("one"), modules=LINUX) as machine:
        to_shell(machine)
        same("nproc", machine.shell("nproc"), "1")
        same("the hypervisor bit", machine.shell("grep -c hypervisor /proc/cpuinfo"), "1")
        same("sha256sum of a pipe", machine.shell("seq 1 50000 | sha256sum", 60).split()[0], sum_of(50000))
        same("files made by 50 processes", machine.shell(
            "mkdir /tmp/s; i=0; while [ $i -lt 50 ]; do (echo $i > /tmp/s/$i; sleep 0.1) & i=$((i+1)); done; wait; ls /tmp/s | wc -l",
            120).splitlines()[-1], "50")
        before = float(machine.shell("cut -d' ' -f1 /proc/uptime"))
        machine.shell("sleep 2", 60)
        slept = float(machine.shell("cut -d' ' -f1 /proc/uptime")) - before
        if not 1.9 <= slept <= 4:
            raise Failure(f"`sleep 2` took {slept:.2f} s of the guest's time")
        off(machine, "one")
        ends(machine, "one")


def test_debian_2cpu(context):
    """A guest with two vCPUs, on two CPUs and on one"""
    for cpus in (2, 1):
        with vmm(context, debian("two", cpus=2), modules=LINUX, smp=cpus) as machine:
            to_shell(machine)
            same("nproc", machine.shell("nproc"), "2")
            same("sums by two processes", machine.shell(
                "for i in 1 2; do (taskset -p $i $$ >/dev/null 2>&1; seq 1 30000 | sha256sum) & done; wait", 120).split()[::2],
                [sum_of(30000)] * 2)
            off(machine, "two")
            ends(machine, "two")


def test_hotplug(context):
    """A guest's second vCPU is taken off and brought back by INIT and start-up IPIs, and found by an NMI, with and without APICv"""
    for cpu in ("max", "SandyBridge"):
        with vmm(context, debian("two", cpus=2), modules=LINUX, cpu=cpu) as machine:
            to_shell(machine)
            for _ in range(3):
                machine.shell("echo 0 > /sys/devices/system/cpu/cpu1/online")
                same("nproc", machine.shell("nproc"), "1")
                machine.shell("echo 1 > /sys/devices/system/cpu/cpu1/online")
                same("nproc", machine.shell("nproc"), "2")
            machine.shell("echo l > /proc/sysrq-trigger", 60)
            same("NMIs", machine.shell("awk '/NMI:/ { print $2 + $3 }' /proc/interrupts"), "1")
            machine.send("poweroff -f\n")
            ends(machine, "two")


def test_two_guests(context):
    """The demonstrations, then two Debians side by side, with the console going to and fro between their shells"""
    with vmm(context, f"demo=all {debian('a')} {debian('b')}", modules=LINUX) as machine:
        machine.expect(DEMOS_END.pattern.removeprefix("^"), 60)
        verdicts(machine.text, {})
        to_shell(machine)
        machine.shell("echo a > /tmp/name; (seq 1 40000 | sha256sum > /tmp/sum; touch /tmp/done) & true")
        switch(machine, "b")
        to_shell(machine)
        same("a file of the other guest", machine.shell("ls /tmp"), "")
        same("a sum in the other guest", machine.shell("seq 1 40000 | sha256sum", 60).split()[0], sum_of(40000))
        switch(machine, "a")
        machine.shell("until [ -e /tmp/done ]; do sleep 0.1; done", 60)
        same("the sum that went on meanwhile", machine.shell("cat /tmp/sum").split()[0], sum_of(40000))
        same("its name", machine.shell("cat /tmp/name"), "a")
        off(machine, "a", heir="b")
        machine.shell("true")
        off(machine, "b")
        ends(machine, "a", "b")


def on_model(context, cpu, smp=2):
    """A Debian guest that computes and powers off."""
    guest = debian("d", "seq 1 2000 | sha256sum; cat /proc/uptime; dmesg -n 8")
    with vmm(context, guest, modules=LINUX, cpu=cpu, smp=smp) as machine:
        machine.expect(r"SoftVT guest ready\n", BOOT_SECONDS)
        machine.expect(sum_of(2000), 60)
        machine.expect(r"vmm: vm d: powered off\n", 60)
        healthy(re.sub(r"RETBleed: WARNING.*", "", machine.text))  # Skylake-Server's, also without the VMM
        ends(machine, "d")


def test_models(context):
    """A Debian guest on CPU models since the first with EPT: the VMM does without what they lack"""
    models = ("Nehalem", "Westmere", "SandyBridge", "IvyBridge", "Haswell", "Skylake-Server")
    for cpu in models:
        on_model(context, cpu)
    return f"{len(models)} models"


def test_without(context):
    """A Debian guest on CPUs that lack one thing each"""
    lists = ("-vmx-unrestricted-guest", "-vmx-vpid", "-vmx-eptad", "-vmx-flexpriority", "-vmx-apicv-xapic", "-vmx-apicv-vid",
             "-vmx-posted-intr", "-vmx-preemption-timer", "-vmx-true-ctls", "-vmx-ept-2mb,-vmx-ept-1gb", "-xsave",
             "-vmx-exit-load-efer,-vmx-entry-load-efer,-vmx-exit-load-pat,-vmx-entry-load-pat")
    for features in lists:
        try:
            on_model(context, "max," + features)
        except Failure as reason:
            raise Failure(f"{features}: {reason}") from reason
    return f"{len(lists)} lists"


def test_refuses(context):
    """What cannot be is refused by the name of what is missing, and the machine is switched off"""
    hash_module, hash_vm = flat(context, "hash")
    for cpu, append, modules, sentence in (("Penryn", debian("d"), LINUX, r"Enable EPT"),
                                           ("max,-vmx-ept", debian("d"), LINUX, r"Enable EPT"),
                                           ("max,-vmx", debian("d"), LINUX, r"VMX"),
                                           ("Nehalem", hash_vm, hash_module, r"needs unrestricted guest, which this CPU has not"),
                                           ("Nehalem", debian("d", cpus=2), LINUX, r"needs unrestricted guest, which this CPU has not"),
                                           ("max", "vm=d,kernel=nothing", (), r"vm=d: kernel=nothing: .* no module of this name"),
                                           ("max", "vm=d,mem=256M", (), r"vm=d: it has neither kernel= nor image="),
                                           ("max", "demo=nothing", (), r'there is none named "nothing"')):
        with vmm(context, append, modules=modules, cpu=cpu) as machine:
            machine.expect(sentence, 60)
            machine.wait(60)


def test_platform(context):
    """Debian with the virtual platform's I/O APIC and clock, a reboot by ACPI, and then the same with 8259s and 8254 alone"""
    with vmm(context, debian("p"), modules=LINUX) as machine:
        to_shell(machine)
        for line in (r"\b4: .*IO-APIC +4-edge +ttyS0", r"\b8: .*IO-APIC +8-edge +rtc0"):
            if not re.search(line, machine.shell("cat /proc/interrupts")):
                raise Failure(f"no line {line} in /proc/interrupts")
        machine.shell("echo +2 > /sys/class/rtc/rtc0/wakealarm; sleep 3", 60)
        same("alarms", machine.shell("awk '/rtc0/ { print $2 }' /proc/interrupts"), "1")
        machine.shell("date -s '2031-02-28 23:59:58'; hwclock -u -w; sleep 3", 60)
        same("the date of the clock", machine.shell("cat /sys/class/rtc/rtc0/date"), "2031-03-01")
        machine.send("reboot -f\n")
        machine.expect(r"vmm: vm p: reset\n", 60)
        to_shell(machine)
        off(machine, "p")
        ends(machine, "p")
    old = debian("p").replace("panic=-1", "panic=-1 acpi=off nolapic clocksource=jiffies quiet")
    with vmm(context, old, modules=LINUX) as machine:
        to_shell(machine)
        for line in (r"\b0: +[1-9]\d* +XT-PIC +timer", r"\b4: +[1-9]\d* +XT-PIC +ttyS0"):
            if not re.search(line, machine.shell("cat /proc/interrupts")):
                raise Failure(f"no line {line} in /proc/interrupts")
        machine.shell("sleep 1", 60)
        machine.send("reboot -f\n")
        machine.expect(r"vmm: vm p: reset\n", 60)


def test_disk(context):
    """A disk in memory: Debian's virtio_blk reads what the module had, and finds what it wrote after a reboot"""
    content = hashlib.sha256(b"disk").digest() * 65536
    changed = content[:65536] + bytes(1 << 20) + content[65536 + (1 << 20):]
    image = context.log + ".disk"
    with open(image, "wb") as file:
        file.write(content)
    modules = (LINUX[0], LINUX[1] + "-modules", image)
    append = f'vm=d,kernel=vmlinuz,initrd=initrd-modules,disk={os.path.basename(image)},append="console=ttyS0 quiet"'
    load = "modprobe virtio_pci; modprobe virtio_blk; until [ -b /dev/vda ]; do sleep 0.1; done"
    with vmm(context, append, modules=modules, smp=1) as machine:
        to_shell(machine)
        machine.shell(load, 60)
        same("what is on the disk", machine.shell("sha256sum < /dev/vda", 60).split()[0], hashlib.sha256(content).hexdigest())
        machine.shell("dd if=/dev/zero of=/dev/vda bs=64k count=16 seek=1; sync", 60)
        machine.send("reboot -f\n")
        machine.expect(r"vmm: vm d: reset\n", 60)
        to_shell(machine)
        machine.shell(load, 60)
        same("what is on it then", machine.shell("sha256sum < /dev/vda", 60).split()[0], hashlib.sha256(changed).hexdigest())
        off(machine, "d")
        ends(machine, "d")


def test_prompt(context):
    """Every command of the VMM's prompt does what it says"""
    with vmm(context, debian("a") + " " + debian("b", "sleep 1000"), modules=LINUX) as machine:
        to_shell(machine)
        machine.send(KEY)
        prompt(machine, "help", r"quit +switches all VMs and the machine off\n")
        prompt(machine, "vms", r"\* a +running +256 MiB  1 vCPUs  [\d.]+ s\n  b +running +256 MiB  1 vCPUs  [\d.]+ s\n")
        prompt(machine, "cpus", r"CPU 0, APIC ID 0\n  a\.0: \w+, \d+ VM entries\nCPU 1, APIC ID 1\n  b\.0: \w+, \d+ VM entries\n")
        prompt(machine, "exits a", r"vmm: vm a: \d+ VM entries, VM exits:\n(?:.*\n)+? +\d+ +100.0 % +\d+  total\n")
        prompt(machine, "regs a", r" +RIP [0-9a-f]{16} ")
        prompt(machine, "vmcs b.0", r".*GUEST_RIP")
        prompt(machine, "caps", r".*Enable EPT")
        prompt(machine, "nonsense", r'There is no command "nonsense"; help lists them\.\n')
        prompt(machine, "regs c", r'There is no VM "c"\.\n')
        prompt(machine, "pause b", "")
        prompt(machine, "vms", r"\* a +running .*\n  b +paused .*\n")
        prompt(machine, "resume b", "")
        prompt(machine, "vms", r"\* a +running .*\n  b +running .*\n")
        prompt(machine, "stop b", r"vmm: vm b: powered off\n")
        prompt(machine, "vms", r"\* a +running .*\n  b +off .*\n")
        prompt(machine, "reset a", r"vmm: vm a: reset\n")
        machine.send("\r")
        to_shell(machine)
        machine.send(KEY)
        prompt(machine, "quit", r"vmm: vm a: powered off\n")
        ends(machine, "a", "b")


def test_pause(context):
    """A guest that is paused does not notice: its clock stands still with it"""
    with vmm(context, debian("a"), modules=LINUX) as machine:
        to_shell(machine)
        before = float(machine.shell("cut -d' ' -f1 /proc/uptime"))
        machine.send(KEY)
        prompt(machine, "pause a", "")
        first = prompt(machine, "vms", r"\* a +paused +256 MiB  1 vCPUs  ([\d.]+) s\n")[1]
        second = prompt(machine, "vms", r"\* a +paused +256 MiB  1 vCPUs  ([\d.]+) s\n")[1]
        same("the time of a paused VM", second, first)
        prompt(machine, "resume a", "")
        machine.send("\r")
        machine.shell("true")
        if float(machine.shell("cut -d' ' -f1 /proc/uptime")) < before:
            raise Failure("the guest's time has gone back")
        off(machine, "a")
        ends(machine, "a")


def test_triple_fault(context):
    """A guest that triple-faults is stopped with its state; another goes on undisturbed"""
    modules, vms = flat(context, "triple", "hash")
    with vmm(context, f"{vms} console=all", modules=modules, smp=1) as machine:
        machine.expect(r"vmm: vm triple: stopped: .*triple fault", 60)
        machine.expect(r"hash\| hash: done\n", 120)
        hashes_are_right(machine.text)
        ends(machine, "triple", "hash")


def test_hostile(context):
    """A guest that does everything it should not, beside one that computes: the VMM lives, and the other is undisturbed"""
    modules, vms = flat(context, "hostile", "hash")
    with vmm(context, f"{vms} console=all slice=1000", modules=modules, smp=1) as machine:
        machine.expect(r"hash\| hash: done\n", 300)
        machine.expect(r"hostile: done; now in ring 0\n", 300)
        machine.expect(r"vmm: vm hostile: (stopped|powered off)", 120)
        hashes_are_right(machine.text)
        ends(machine, "hostile", "hash")


def test_lethal(context):
    """Eight such guests, to which nothing is sacred, until they are dead or the other is done"""
    names = [f"lethal{n}" for n in range(1, 9)]
    modules, vms = flat(context, *names, "hash")
    with vmm(context, f"{vms} console=all slice=1000", modules=modules, smp=2) as machine:
        machine.expect(r"hash\| hash: done\n", 300)
        machine.expect(r"vmm: vm hash: powered off\n", 10)
        hashes_are_right(machine.text)
        try:
            machine.send(KEY + "quit\r")
        except BrokenPipeError:
            pass  # all have died, and the machine is off
        ends(machine, *names, "hash")
        return f"{len(re.findall('vm lethal.: stopped', machine.text))} of 8 were stopped"


if __name__ == "__main__":
    run("vmm", __doc__, globals(), "amd64/initrd")
