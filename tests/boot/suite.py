#!/usr/bin/env python3
"""Boots real systems and watches their consoles; see systems.py for how.

Each function named test_* below is a test; its first line says what it proves.
"""
import hashlib
import os
import random
import re
import struct
import subprocess
import tempfile
import time

from systems import ASSETS, BOOT_SECONDS, READY, Failure, Skipped, healthy, power_off, run, same, to_shell


def peak_mib(machine):
    """The most host memory that the machine has occupied so far."""
    with open(f"/proc/{machine.child.pid}/status", encoding="ascii") as status:
        return int(re.search(r"VmHWM:\s*(\d+) kB", status.read())[1]) / 1024


def exercise(machine):
    """Files, pipes, a checksum, arithmetic in several processes, and a storm of forks."""
    machine.shell("mkdir -p /tmp/a/b/c && echo one > /tmp/a/b/c/f && ln -s b/c/f /tmp/a/link && mv /tmp/a/b/c/f /tmp/a/b/c/g"
                  " && ln -s b/c/g /tmp/a/other")
    same("a file read through a link", machine.shell("cat /tmp/a/other"), "one")
    same("a dangling link", machine.shell("test -e /tmp/a/link || echo gone"), "gone")
    same("find | sort | wc", machine.shell("find /tmp/a | sort | wc -l"), "6")
    same("a sum over a pipe", machine.shell("seq 1 1000 | awk '{s += $1} END {print s}'"), "500500")
    data = b"".join(b"%d\n" % n for n in range(1, 100001))
    same("sha256sum of a pipe", machine.shell("seq 1 100000 | sha256sum", 60).split()[0], hashlib.sha256(data).hexdigest())
    same("dd | sha256sum", machine.shell("dd if=/dev/zero bs=64k count=64 2>/dev/null | sha256sum", 60).split()[0],
         hashlib.sha256(bytes(64 * 65536)).hexdigest())
    same("gzip | gunzip | md5sum", machine.shell("seq 1 100000 | gzip | gunzip | md5sum", 60).split()[0],
         hashlib.md5(data).hexdigest())
    pi = 4 * sum((-1) ** n / (2 * n + 1) for n in range(20000))
    same("floating point in awk", machine.shell(
        "awk 'BEGIN {for (n = 0; n < 20000; n++) s += (n % 2 ? -1 : 1) / (2 * n + 1); printf \"%.12f\\n\", 4 * s}'", 60),
        f"{pi:.12f}")
    same("files made by 200 processes", machine.shell(
        "mkdir /tmp/s; i=0; while [ $i -lt 200 ]; do (echo $i > /tmp/s/$i; sleep 0.1) & i=$((i+1)); done; wait; ls /tmp/s | wc -l",
        120).splitlines()[-1], "200")
    same("their sum", machine.shell("cat /tmp/s/* | awk '{s += $1} END {print s}'"), "19900")
    before = float(machine.shell("cut -d' ' -f1 /proc/uptime"))
    machine.shell("sleep 2", 60)
    slept = float(machine.shell("cut -d' ' -f1 /proc/uptime")) - before
    if not 1.9 <= slept <= 10:
        raise Failure(f"`sleep 2` took {slept:.2f} s of the guest's time")


def debian(context, cpus):
    with context.linux("-smp", str(cpus)) as machine:
        to_shell(machine)
        same("nproc", machine.shell("nproc"), str(cpus))
        same("the kernel's machine", machine.shell("uname -m"), "x86_64")
        exercise(machine)
        power_off(machine)


def test_debian_1cpu(context):
    """Debian's kernel on one vCPU to a shell that works, off by ACPI"""
    debian(context, 1)


def test_debian_2cpu(context):
    """Debian's kernel on two vCPUs to a shell that works, off by ACPI"""
    debian(context, 2)


def test_pae_32bit(context):
    """Debian's 32-bit PAE kernel and userland to a shell that works, off by ACPI"""
    with context.linux(arch="i386") as machine:
        to_shell(machine)
        same("the kernel's machine", machine.shell("uname -m"), "i686")
        machine.shell("uname -r | grep -q pae && grep -qw pae /proc/cpuinfo")
        exercise(machine)
        power_off(machine)


def test_seabios_grub_iso(context):
    """SeaBIOS starts GRUB from a CD image, and that Debian's kernel"""
    with context.start("-cdrom", f"{ASSETS}/debian.iso", "-boot", "d") as machine:
        to_shell(machine)
        same("a sum over a pipe", machine.shell("seq 1 1000 | awk '{s += $1} END {print s}'"), "500500")
        same("the kernel's parameters", machine.shell("cat /proc/cmdline"), "BOOT_IMAGE=/boot/vmlinuz console=ttyS0")
        power_off(machine)


def test_seabios_grub_disk(context):
    """The same image as a hard disk, on two vCPUs: SeaBIOS reads its boot sector"""
    with context.start("-drive", f"file={ASSETS}/debian.iso,format=raw,if=ide", "-snapshot", "-smp", "2") as machine:
        to_shell(machine)
        power_off(machine)


def test_cpu_model(context):
    """A CPU model offers what it has and no more, and a feature can be taken from it"""
    for model, present, absent in (("Nehalem", "sse4_2 popcnt nx", "avx aes bmi1"),
                                   ("Haswell,-bmi2", "avx2 fma bmi1 movbe", "bmi2 avx512f")):
        test = " && ".join([f"grep -qw {word} /proc/cpuinfo" for word in present.split()] +
                           [f"! grep -qw {word} /proc/cpuinfo" for word in absent.split()])
        with context.linux("-cpu", model, append=f'run="{test} && echo features are right"') as machine:
            machine.expect(READY, BOOT_SECONDS)
            machine.expect("features are right\n", 30)
            machine.wait(60)


def test_memory_above_4g(context):
    """The kernel finds all of 6 GiB; the host gives only what the guest touches"""
    with context.linux(memory="6G") as machine:
        to_shell(machine)
        total = int(machine.shell("awk '/^MemTotal/ {print $2}' /proc/meminfo"))
        if total < 5.6 * 1024 * 1024:
            raise Failure(f"the guest sees {total} kB of 6 GiB")
        same("128 MiB through the page cache", machine.shell(
            "dd if=/dev/zero of=/tmp/big bs=1M count=128 2>/dev/null; stat -c %s /tmp/big", 60), str(128 << 20))
        if peak_mib(machine) > 1200:
            raise Failure(f"the machine occupies {peak_mib(machine):.0f} MiB")
        power_off(machine)


def test_terminal(context):
    """On a terminal: keys reach the guest one by one, Ctrl-A x quits, the terminal is as it was"""
    with context.linux(terminal=True) as machine:
        before = machine.settings_before
        machine.expect(READY, BOOT_SECONDS)
        machine.expect("# ", 30)
        machine.send("sh -c 'echo $((3 + 4)); exec cat'\r")
        machine.expect("7\n", 10)
        machine.send("\x03")  # to the guest's cat, not to the emulator
        machine.expect("# ", 10)
        machine.send("echo $((6 * 7))\r")
        machine.expect("42\n", 10)
        if machine.terminal_settings() == before:
            raise Failure("the terminal was not made raw")
        machine.send("\x01x")
        machine.wait(10)
        same("the terminal's settings afterwards", machine.terminal_settings(), before)


def test_reset(context):
    """A guest that resets boots again; with -no-reboot the reset ends the machine with status 0"""
    with context.linux(append='run="reboot -f"') as machine:
        machine.expect(READY, BOOT_SECONDS)
        machine.expect(r"reboot: Restarting system", 60)
        machine.expect(READY, BOOT_SECONDS)
        healthy(machine.text)
    with context.linux("-no-reboot", append='run="reboot -f"') as machine:
        machine.expect(r"reboot: Restarting system", BOOT_SECONDS)
        machine.wait(30)


def test_determinism(context):
    """The same boot twice: the same console, the same digest of the machine's state"""
    if context.qemu:
        raise Skipped("QEMU says no digest")
    script = "uname -a; seq 1 2000 | sha256sum; (sleep 0.2; echo late) & echo soon; wait; cat /proc/interrupts; cat /proc/uptime"
    runs = []
    for _ in range(2):
        with context.linux("-smp", "2", "-stats", append=f'run="{script}"') as machine:
            machine.expect(READY, BOOT_SECONDS)
            machine.wait(120)
            digest = re.search(r"digest: ([0-9a-fA-F]+)", machine.text + machine.stderr())
            if not digest:
                raise Failure("-stats printed no digest")
            runs.append((machine.text.split("Power down")[0], digest[1]))
    (text, digest), (text2, digest2) = runs
    if text != text2:
        pair = next((a, b) for a, b in zip(text.splitlines(), text2.splitlines()) if a != b)
        raise Failure(f"the consoles differ: {pair[0]!r} and {pair[1]!r}")
    same("the second digest", digest2, digest)


def disk_guest(context, image, drive="if=virtio"):
    modules = "virtio_pci virtio_blk" if "virtio" in drive else "ahci sd_mod"
    machine = context.linux("-drive", f"file={image},format=qcow2,{drive}", initrd="initrd-modules", append="quiet")
    to_shell(machine)
    machine.shell(f"for m in {modules}; do modprobe $m || exit 1; done", 60)
    name = "vda" if "virtio" in drive else "sda"
    machine.shell(f"i=0; until [ -b /dev/{name} ]; do sleep 0.1; i=$((i+1)); [ $i -lt 100 ] || break; done; test -b /dev/{name}",
                  60)
    return machine, "/dev/" + name


def killed_while_writing(context, drive):
    """Writes scattered clusters with fsync and dies by SIGKILL at a random moment, three times over.

    The image must stay sound, and what was synced before a kill must be there after it.
    """
    chance = random.Random(2026)
    with tempfile.TemporaryDirectory() as directory:
        image = os.path.join(directory, "disk.qcow2")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "1G"], check=True)
        synced = {}  # MiB -> the word that the cluster there is full of
        for attempt in range(1, 4):
            machine, device = disk_guest(context, image, drive)
            with machine:
                for place, word in chance.sample(sorted(synced.items()), min(20, len(synced))):
                    same(f"the cluster at {place} MiB after the kill", machine.shell(
                        f"dd if={device} bs=64k skip={place * 16} count=1 2>/dev/null | uniq"), word)
                # Some places come again in later attempts, others allocate clusters and tables.
                places = [(7 * attempt + 61 * n) % 1000 for n in range(400)]
                machine.send(f"for p in {' '.join(map(str, places))}; do yes $(printf {attempt}%06d $p) | head -c 65536 | "
                             f"dd of={device} bs=64k seek=$((p*16)) conv=fsync 2>/dev/null && echo synced=$p; done\n")
                machine.expect(r"synced=\d+\n", 60)
                end = time.monotonic() + chance.uniform(0.5, 2.0) * context.scale
                while time.monotonic() < end:
                    machine.read(end - time.monotonic())
                machine.child.kill()
                machine.child.wait()
                done = len(re.findall(r"synced=\d+\n", machine.text))
                if done == len(places):
                    raise Failure("the guest had written everything before the kill: nothing was tested")
                synced.update((place, f"{attempt}{place:06d}") for place in places[:done])
                # The cluster being written when the machine died may be old, new or torn; nothing is known of it.
                synced.pop(places[done], None)
            check = subprocess.run(["qemu-img", "check", image], capture_output=True, text=True, check=False)
            if check.returncode not in (0, 3):  # 3: clusters leaked, none corrupted
                raise Failure(f"the image is corrupt after kill {attempt}: {check.stdout} {check.stderr}")


def test_kill_virtio(context):
    """SIGKILL amid writes to a qcow2 image on virtio-blk: the image is sound, synced data is there"""
    killed_while_writing(context, "if=virtio")


def test_kill_ahci(context):
    """The same on an AHCI disk"""
    killed_while_writing(context, "if=ide")


def tiny_kernel():
    """A Multiboot image of a few bytes that says "up" on COM1 and halts: to see what starting a machine costs."""
    base = 0x100000
    code = b"".join(b"\xb0" + bytes([c]) + b"\xee" for c in b"up\n")  # mov al, c; out dx, al
    code = b"\x66\xba\xf8\x03" + code + b"\xfa\xf4\xeb\xfd"  # mov dx, 0x3f8; ...; cli; 1: hlt; jmp 1b
    magic, flags = 0x1BADB002, 0x10000
    size = 32 + len(code)
    return struct.pack("<8I", magic, flags, -(magic + flags) & 0xFFFFFFFF, base, base, base + size, base + size,
                       base + 32) + code


def test_memory(context):
    """An untouched 1 GiB costs less than 64 MiB"""
    if context.qemu:
        raise Skipped("QEMU makes no such promise")
    with tempfile.NamedTemporaryFile(suffix=".bin") as image:
        image.write(tiny_kernel())
        image.flush()
        with context.start("-kernel", image.name) as machine:
            machine.expect(r"up\n", 60)
            peak = peak_mib(machine)
    if peak > 64:
        raise Failure(f"the idle machine occupies {peak:.0f} MiB")


def test_loops(context):
    """The benchmark's image computes what the same code computes on the host, and once more as a guest in VMX non-root operation"""
    native = os.path.join(context.build, "bench", "bench_native")
    names = [line.split()[0] for line in subprocess.run([native, "--list"], check=True, capture_output=True,
                                                        text=True).stdout.splitlines()]
    with context.start("-kernel", os.path.join(context.build, "bench", "bench_guest.elf"), "-append",
                       "calls=2" if context.qemu else "calls=2 vmx",
                       "-device", "isa-debug-exit,iobase=0xf4,iosize=4", memory="128M") as machine:
        for name in names + ([] if context.qemu else ["guest:" + name for name in names]):
            found = machine.expect(rf"loop {name} (unstable|end 2 ([0-9a-f]+))\n", 120)[2]
            checksum = subprocess.run([native, name.removeprefix("guest:"), "1"], check=True, capture_output=True,
                                      text=True).stdout.split()[1]
            same(f"the checksum of {name}", found, checksum)
        machine.wait(10, status=33)


if __name__ == "__main__":
    run("boot", __doc__, globals(), "debian.iso")
