#!/usr/bin/env python3
"""Compares softvt with Debian's Bochs, QEMU TCG and native code, in one run, by user CPU time.

Loops: bench_guest.elf runs on each emulator, all started at once and all stopped but one: for each loop the emulators take
their turns, one after the other, so that what else the machine does hits them alike. The CPU time is read from /proc when
the guest says that a loop ended. Each runs a loop as often as makes a second of it, and the times are per call. The same
object code runs natively. Checksums must agree. An emulator that has VMX is started once more with the image as its own guest,
and takes its turn in VMX non-root operation right after the one outside; last comes CPUID, of which each is a VM exit and a VM
entry.

Boot: Debian's kernel to init's first line; for Bochs, which needs firmware and GRUB, from GRUB's last line.

The VMM: what an exit with its work costs, and Debian's boot in a VM in instructions (vmm.py).

Decoding: ns an instruction over the code of busybox.

The tables are printed and, unless --dry is given, put into docs/performance.md between its marks.
"""
import argparse
import math
import os
import pty
import re
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import vmm

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ASSETS = os.environ.get("ASSETS", os.path.join(ROOT, "build", "assets"))
REPORT = os.path.join(ROOT, "docs", "performance.md")
BEGIN, END = "<!-- bench:begin -->\n", "<!-- bench:end -->\n"
READY = "SoftVT guest ready"
TICK = os.sysconf("SC_CLK_TCK")
GUEST, EXITS = "guest:", 10000  # as in guest/main.c: before the names of loops, and CPUIDs in a call of that loop
LIMIT = 900  # seconds without the expected line, on a machine that others use too

BOCHSRC = """\
display_library: term
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/seabios/vgabios-stdvga.bin
sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
megs: {megs}
boot: cdrom
ata0-master: type=cdrom, path={iso}, status=inserted
clock: sync=none, time0=utc
cpu: model=corei7_skylake_x, count=1:1:1, ips=50000000, reset_on_triple_fault=0
com1: enabled=1, mode=file, dev={serial}
log: {log}
panic: action=fatal
error: action=ignore
info: action=ignore
"""


class Emulator:
    """A running emulator whose serial line is read here and whose CPU time is watched. A context manager."""

    def __init__(self, name):
        self.name, self.rest, self.child = name, "", None

    def start(self, command):
        self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.attach(self.child.stdout.fileno())
        return self

    def start_bochs(self, directory, iso, megs):
        """Bochs draws its screen on a terminal, here one that nobody looks at; its serial line goes to a FIFO."""
        serial, rc, go = (os.path.join(directory, file) for file in ("serial", "bochsrc", "go"))
        if os.path.exists(serial):
            os.unlink(serial)
        os.mkfifo(serial)
        with open(rc, "w", encoding="ascii") as file:
            file.write(BOCHSRC.format(megs=megs, iso=iso, serial=serial, log=os.path.join(directory, "log")))
        with open(go, "w", encoding="ascii") as file:
            file.write("c\n")  # Debian's Bochs has the debugger built in, and it waits for this
        fifo = os.open(serial, os.O_RDONLY | os.O_NONBLOCK)
        master, slave = pty.openpty()
        subprocess.run(["stty", "rows", "60", "cols", "132"], stdin=slave, check=True)
        self.child = subprocess.Popen(["bochs", "-q", "-f", rc, "-rc", go], stdin=slave, stdout=slave, stderr=slave,
                                      env=dict(os.environ, TERM="xterm"))
        os.close(slave)
        threading.Thread(target=drain, args=(master,), daemon=True).start()
        self.attach(fifo)
        return self

    def attach(self, fd):
        self.fd = fd
        self.selector = selectors.DefaultSelector()
        self.selector.register(fd, selectors.EVENT_READ)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.child:
            self.child.kill()
            self.child.wait()

    def line(self, pattern):
        """Reads the serial line up to a line that has the pattern; returns the match."""
        end = time.monotonic() + LIMIT
        last = ""
        while time.monotonic() < end:
            while "\n" in self.rest:
                last, self.rest = self.rest.split("\n", 1)
                match = re.search(pattern, last)
                if match:
                    return match
            if not self.selector.select(timeout=1):
                continue
            chunk = os.read(self.fd, 65536)
            if chunk:
                self.rest += chunk.decode(errors="replace").replace("\r", "")
            elif self.child.poll() is not None:
                errors = self.child.stderr.read().decode(errors="replace").strip() if self.child.stderr else ""
                sys.exit(f"bench: {self.name} ended before it said /{pattern}/; last line {last!r} {errors}")
            else:
                time.sleep(0.01)  # a FIFO that has no writer yet
        sys.exit(f"bench: {self.name} did not say /{pattern}/ within {LIMIT} s; last line {last!r}")

    def user_seconds(self):
        with open(f"/proc/{self.child.pid}/stat", encoding="ascii", errors="replace") as file:
            return int(file.read().rsplit(")", 1)[1].split()[11]) / TICK

    # Not by Popen: it would reap one that has just ended, and its CPU time with it.
    def pause(self):
        os.kill(self.child.pid, signal.SIGSTOP)

    def go_on(self):
        os.kill(self.child.pid, signal.SIGCONT)


def drain(fd):
    try:
        while os.read(fd, 65536):
            pass
    except OSError:
        pass  # the other end is closed: Bochs has ended


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def grub_iso(directory, kernel, arguments):
    tree, iso = os.path.join(directory, "iso"), os.path.join(directory, "bench.iso")
    os.makedirs(os.path.join(tree, "boot", "grub"))
    shutil.copy(kernel, os.path.join(tree, "boot", "kernel"))
    with open(os.path.join(tree, "boot", "grub", "grub.cfg"), "w", encoding="ascii") as file:
        file.write(f'set timeout=0\nmenuentry "bench" {{\n\tmultiboot /boot/kernel {arguments}\n}}\n')
    subprocess.run(["grub-mkrescue", "-d", "/usr/lib/grub/i386-pc", "-o", iso, tree], check=True, capture_output=True)
    return iso


def qemu_like(program, *more):
    command = [program, "-machine", "q35", "-display", "none", "-serial", "stdio", "-no-reboot"]
    return command + (["-accel", "tcg"] if "qemu" in program else []) + list(more)


def bench_loops(options, names, loops, directory):
    """Runs every loop on every emulator; returns {loop: {emulator or "native": seconds per call}}, and the same of guests."""
    emulators = [Emulator(name) for name in names]
    with_vmx = [Emulator(name) for name in names if name != "TCG"]
    results, guests = {}, {}
    try:
        for emulator in emulators:
            start_loops(emulator, options, [name for name, _, _ in loops], directory)
        for emulator in with_vmx:
            start_loops(emulator, options, ["guest"] + [name for name, _, _ in loops], directory)
        for name, calls, _ in loops:
            say(f"loop {name}")
            native = subprocess.run([options.native, name, str(calls * options.native_scale)], check=True,
                                    capture_output=True, text=True).stdout.split()
            results[name] = {"native": int(native[2]) * 1e-9 / (calls * options.native_scale)}
            guests[name] = {}
            for emulator in emulators:
                results[name][emulator.name] = time_loop(emulator, name, native[1])
                for guest in with_vmx:
                    if guest.name == emulator.name:
                        guests[name][guest.name] = time_loop(guest, GUEST + name, native[1])
        say("VM exits")
        guests["cpuid"] = {guest.name: time_loop(guest, GUEST + "cpuid") for guest in with_vmx}
    finally:
        for emulator in emulators + with_vmx:
            emulator.__exit__()
    return results, guests


def start_loops(emulator, options, words, directory):
    """Starts bench_guest.elf with these words and the emulator's scale, and stops it before its first loop."""
    image = os.path.join(options.build, "bench", "bench_guest.elf")
    scale = {"softvt": 4, "TCG": 8, "Bochs": 1}
    arguments = " ".join([f"scale={scale[emulator.name]}"] + words)
    if emulator.name == "Bochs":
        directory = tempfile.mkdtemp(dir=directory)
        emulator.start_bochs(directory, grub_iso(directory, image, arguments), 128)
    else:
        program = options.softvt if emulator.name == "softvt" else "qemu-system-x86_64"
        emulator.start(qemu_like(program, "-m", "128M", "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
                                 "-kernel", image, "-append", arguments))
    emulator.line("bench begin")
    emulator.pause()


def time_loop(emulator, name, checksum=None):
    """Lets the emulator run one loop; returns seconds of user CPU time per call."""
    begin = emulator.user_seconds()
    emulator.go_on()
    end = emulator.line(rf"^loop {name} (end (\d+) ([0-9a-f]+)|unstable)")
    emulator.pause()
    if end[2] is None or (checksum and end[3] != checksum):
        sys.exit(f"bench: loop {name} on {emulator.name}: checksum {end[3]}, natively {checksum}")
    return (emulator.user_seconds() - begin) / int(end[2])


def bench_boot(options, names, directory):
    """Boots Debian's kernel on every emulator; returns {emulator: user CPU seconds}."""
    results = {}
    for name in names:
        say(f"Debian's kernel on {name}")
        with Emulator(name) as emulator:
            begin = 0
            if name == "Bochs":
                emulator.start_bochs(directory, os.path.join(ASSETS, "debian.iso"), 1024)
                emulator.line("GRUB starts Linux")
                begin = emulator.user_seconds()
            else:
                program = options.softvt if name == "softvt" else "qemu-system-x86_64"
                emulator.start(qemu_like(program, "-m", "1G", "-kernel", os.path.join(ASSETS, "amd64", "vmlinuz"),
                                         "-initrd", os.path.join(ASSETS, "amd64", "initrd"), "-append",
                                         "console=ttyS0"))
            emulator.line(READY)
            results[name] = emulator.user_seconds() - begin
    return results


def bench_decode(options):
    """How fast busybox' instructions are decoded, as a sentence."""
    busybox = os.path.join(ASSETS, "amd64", "busybox", "bin", "busybox")
    count, ours, zydis = subprocess.run([os.path.join(options.build, "bench", "bench_decode"), busybox], check=True,
                                        capture_output=True, text=True).stdout.split()
    return f"Decoding takes {ours} ns an instruction (Zydis alone, without operands: {zydis} ns), over busybox' {count}."


def bench_start(options):
    """How soon a guest's first line is there, as a sentence: the best of five."""
    image, times = os.path.join(options.build, "bench", "bench_guest.elf"), []
    for _ in range(5):
        begin = time.monotonic()
        with Emulator("softvt").start(qemu_like(options.softvt, "-m", "1G", "-kernel", image)) as emulator:
            emulator.line("bench begin")
            times.append(time.monotonic() - begin)
    return f"A small image's first line is there {min(times) * 1000:.0f} ms after softvt was started."


def mean(values):
    return math.exp(sum(map(math.log, values)) / len(values)) if values else float("nan")


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|---" + "|---:" * (len(header) - 1) + "|"]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def ratio(value):
    return "-" if math.isnan(value) else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def report_vmx(loops, results, guests):
    """What VMX costs: an exit and an entry, and each loop in a guest set against the same loop outside."""
    exits = {name: seconds / EXITS * 1e9 for name, seconds in guests["cpuid"].items()}
    rows = [["CPUID exit, minimal handler, VMRESUME", "ns"] + [f"{ns:.0f}" for ns in exits.values()]]
    for name, _, _ in loops:
        rows.append([f"{name}, guest : root", ""] + [f"{guests[name][e] / results[name][e]:.2f}" for e in exits])
    rows.append(["**guest : root, geometric mean**", ""] + [
        f"**{mean([guests[name][e] / results[name][e] for name, _, _ in loops]):.2f}**" for e in exits])
    return table(["VMX", "unit"] + list(exits), rows)


def report(names, loops, results, boots):
    """The tables, each a list of lines of Markdown."""
    tables = []
    pairs = [(name, "native") for name in names] + [(name, "softvt") for name in names if name != "softvt" and
                                                     "softvt" in names]
    if results:
        rows = []
        for name, _, _ in loops:
            row = results[name]
            rows.append([name, f"{row['native'] * 1000:.3f}"] + [ratio(row[a] / row[b]) for a, b in pairs])
        for kind, title in (("int", "integer"), ("fp", "floating point")):
            of_kind = [results[name] for name, _, loop_kind in loops if loop_kind == kind]
            if of_kind:
                rows.append([f"**{title}, geometric mean**", ""] +
                            [f"**{ratio(mean([row[a] / row[b] for row in of_kind]))}**" for a, b in pairs])
        tables.append(table(["loop", "native, ms a call"] + [f"{a} : {b}" for a, b in pairs], rows))
    if boots:
        tables.append(table(["Debian's kernel to init", "user CPU, s", ": softvt"], [
            [name, f"{boots[name]:.2f}", ratio(boots[name] / boots.get("softvt", float("nan")))] for name in boots]))
    return tables


def version(command, pattern):
    text = subprocess.run(command, capture_output=True, text=True, check=False)
    match = re.search(pattern, text.stdout + text.stderr)
    return match[1] if match else "?"


def host(names):
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = re.search(r"model name\s*: (.*)", file.read())
    parts = [time.strftime("%Y-%m-%d"), model[1] if model else "unknown processor"]
    if "TCG" in names:
        parts.append("QEMU " + version(["qemu-system-x86_64", "--version"], r"version ([\d.]+)"))
    if "Bochs" in names:
        parts.append("Bochs " + version(["dpkg-query", "-W", "-f", "${Version}", "bochs"], r"([\d.]+)"))
    return "Measured " + ", ".join(parts) + "."


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(ROOT, "build"), help="build directory")
    parser.add_argument("--softvt", help="by default BUILD/softvt")
    parser.add_argument("--emulators", default="softvt,TCG,Bochs", help="which ones, comma-separated")
    parser.add_argument("--loops", help="names, comma-separated; all of them by default; none: only the boot")
    parser.add_argument("--no-boot", action="store_true", help="only the loops")
    parser.add_argument("--native-scale", type=int, default=6, help="how many times Bochs' calls the native loops run")
    parser.add_argument("--dry", action="store_true", help="do not renew docs/performance.md")
    options = parser.parse_args()
    options.softvt = options.softvt or os.path.join(options.build, "softvt")
    options.native = os.path.join(options.build, "bench", "bench_native")

    names = options.emulators.split(",")
    if "softvt" in names and not os.path.exists(options.softvt):
        sys.exit(f"bench: there is no {options.softvt}; `make` builds it (or choose with --emulators TCG,Bochs)")
    loops = [(name, int(calls), kind) for name, calls, kind in
             map(str.split, subprocess.run([options.native, "--list"], check=True, capture_output=True,
                                           text=True).stdout.splitlines())]
    if options.loops is not None:
        wanted = options.loops.split(",")
        loops = [loop for loop in loops if loop[0] in wanted]
    with tempfile.TemporaryDirectory() as directory:
        results, guests = bench_loops(options, names, loops, directory) if loops else ({}, {})
        boots = {} if options.no_boot else bench_boot(options, names, directory)
    parts = [[host(names)]] + report(names, loops, results, boots)
    if guests.get("cpuid"):
        parts.append(report_vmx(loops, results, guests))
    if "softvt" in names:
        say("the VMM")
        header, rows, sentence = vmm.rows(options, Emulator, ASSETS)
        parts += [table(header, rows), [sentence]]
    parts.append([bench_decode(options) + " " + bench_start(options)])
    text = "\n\n".join("\n".join(part) for part in parts) + "\n"
    print(text, end="")
    if not options.dry:
        with open(REPORT, encoding="utf-8") as file:
            before, rest = file.read().split(BEGIN)
        with open(REPORT, "w", encoding="utf-8") as file:
            file.write(before + BEGIN + text + END + rest.split(END)[1])


if __name__ == "__main__":
    main()
