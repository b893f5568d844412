#!/usr/bin/env python3
"""Drives the command line, the monitor and the gdb stub as users and scripts do, on Multiboot images of a few bytes.

Each function named test_* below is a test; its first line says what it proves.
"""
import argparse
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SECONDS = 60
IMAGES = ["five_rules"]  # of this directory
BASE = 0x100000
ENTRY = BASE + 32  # code begins here


class Failure(Exception):
    """What was expected did not happen."""


def multiboot(code):
    """A Multiboot 1 image without sections, in 32-bit protected mode at its first instruction."""
    magic, flags, end = 0x1BADB002, 0x10000, ENTRY + len(code)
    return struct.pack("<8I", magic, flags, -(magic + flags) & 0xFFFFFFFF, BASE, BASE, end, end, ENTRY) + code


def out(port, *values):
    """mov dx, port; then mov al, value; out dx, al for each."""
    return b"\x66\xba" + struct.pack("<H", port) + b"".join(bytes([0xB0, v, 0xEE]) for v in values)


SAY_UP = out(0x3F8, *b"up\n")
HALT = b"\xfa\xf4\xeb\xfd"  # cli; 1: hlt; jmp 1b
SPIN = b"\xeb\xfe"
EXIT_16 = out(0xF4, 0x10)
COUNT = b"\xb9\x00\x00\x10\x00\x01\xc8\xe2\xfc"  # mov ecx, 100000h; 1: add eax, ecx; loop 1b
TRIPLE = b"\x0f\x01\x1d" + struct.pack("<I", ENTRY + 32) + b"\xcc" + bytes(32)  # lidt [zeros]; int3
DEBUG_EXIT = ["-device", "isa-debug-exit,iobase=0xf4,iosize=0x4"]
QUIET = ["-display", "none", "-nodefaults"]


class Context:
    def __init__(self, softvt, directory):
        self.softvt, self.directory = softvt, directory

    def built(self, name):
        """The image of this directory's NAME.c."""
        return os.path.join(os.path.dirname(self.softvt), "tests", "cli", name + ".elf")

    def path(self, name):
        return os.path.join(self.directory, name)

    def image(self, code, name="image"):
        with open(self.path(name), "wb") as file:
            file.write(multiboot(code))
        return self.path(name)

    def run(self, *arguments, text="", status=0, stderr=""):
        """Runs to the end; stderr must be just so (None: anything). Returns stdout and stderr."""
        done = subprocess.run([self.softvt, *arguments], input=text.encode(), capture_output=True, timeout=SECONDS, check=False)
        said, errors = done.stdout.decode().replace("\r", ""), done.stderr.decode()
        if done.returncode != status:
            raise Failure(f"exit status {done.returncode}, not {status}, of {' '.join(arguments)}: {errors}")
        if stderr is not None and errors != stderr:
            raise Failure(f"stderr is {errors!r}, not {stderr!r}")
        return said, errors

    def start(self, *arguments):
        return subprocess.Popen([self.softvt, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def has(text, pattern):
    found = re.search(pattern, text, re.M)
    if not found:
        raise Failure(f"no /{pattern}/ in {text[-2000:]!r}")
    return found


def same(what, found, expected):
    if found != expected:
        raise Failure(f"{what} is {found!r}, not {expected!r}")


def wait_for(child, text):
    """Reads the console until it has said this."""
    said = b""
    end = time.monotonic() + SECONDS
    while text not in said.replace(b"\r", b""):
        chunk = os.read(child.stdout.fileno(), 4096)
        said += chunk
        if not chunk or time.monotonic() > end:
            raise Failure(f"the console ended with {said!r}: {child.stderr.read()!r}")
    return said


def test_version(context):
    """The first line of -h, -help and -version: three words, then a version"""
    for option in ("-h", "--help", "-help", "-version", "--version"):
        has(context.run(option)[0].splitlines()[0], r"^\S+ \S+ \S+ version \d+\.\d+\.\d+( |$)")
    has(context.run("--help")[0], "QEMU")


def test_device_list(context):
    """-device help and -device ? list names in double quotes, one per line"""
    for word in ("help", "?"):
        lines = context.run("-device", word)[0].splitlines()
        for name in ("pc-testdev", "pci-testdev", "isa-debug-exit", "edu"):
            same(f"lines with {name}", sum(f'"{name}"' in line for line in lines), 1)
    has(context.run("-device", "isa-debug-exit,help")[0], "iobase")
    for what in ("-cpu", "-machine", "-d", "-accel", "-chardev", "-display"):
        has(context.run(what, "help")[0], r"\n.+\n|.+\n.+")


def test_icount(context):
    """-icount shift=N: an instruction takes 2^N ns of the guest's time"""
    # rdtsc; mov ebx, eax; mov ecx, 10000h; 1: loop 1b; rdtsc; sub eax, ebx; shr eax, 16; mov dx, 0f4h; out dx, al
    image = context.image(bytes.fromhex("0f31 89c3 b900000100 e2fe 0f31 29d8 c1e810 66baf400 ee"))
    for shift in (0, 3, 6):
        context.run("-kernel", image, *QUIET, *DEBUG_EXIT, "-icount", f"shift={shift}", status=(1 << shift) << 1 | 1)


def test_topology(context):
    """-smp sockets=,dies=,cores=,threads=: CPUID says what was asked for, and each CPU's APIC answers to its ID"""
    def level(leaf, subleaf):  # mov eax, leaf; mov ecx, subleaf; cpuid; then EAX << 4 | EBX to port F4H
        return context.image(bytes([0xB8, leaf, 0, 0, 0, 0xB9, subleaf, 0, 0, 0]) + bytes.fromhex("0fa2 c1e004 09d8 66baf400 ee"))

    asked = ["-smp", "12,sockets=2,dies=1,cores=3,threads=2"]
    for leaf, subleaf, shift, count in ((0xB, 0, 1, 2), (0xB, 1, 3, 6), (0x1F, 1, 3, 6), (0x1F, 2, 0, 0)):
        context.run("-kernel", level(leaf, subleaf), *QUIET, *DEBUG_EXIT, *asked, status=((shift << 4 | count) << 1 | 1) & 0xFF)
    for bad in (["-smp", "4,cores=3"], ["-smp", "65"], ["-smp", "2,maxcpus=1"], ["-smp", "threads=0"]):
        has(context.run(*bad, status=1, stderr=None)[1], "Invalid (CPU topology|SMP CPUs)")
    # INIT, then SIPI to APIC ID 13, the last, which exits with what CPUID says of it: mov eax, 1; cpuid; shr ebx, 24; out 0f4h, bl
    ap = bytes.fromhex("66b801000000 0fa2 66c1eb18 88d8 baf400 ee 9090")
    store = [(0x1000 + i, *struct.unpack_from("<I", ap, i)) for i in range(0, len(ap), 4)]
    store += [(0xFEE00310, 13 << 24), (0xFEE00300, 0x4500), (0xFEE00300, 0x4601)]
    code = b"".join(b"\xc7\x05" + struct.pack("<2I", *pair) for pair in store)
    context.run("-kernel", context.image(code + HALT), *QUIET, *DEBUG_EXIT, *asked, status=13 << 1 | 1)


def test_sentences(context):
    """What cannot be is one sentence on stderr, and exit status 1"""
    image = context.image(HALT)
    for arguments, sentence in (
            (["-kernel", "_NO_FILE_4Uhere_"], "could not open kernel file '_NO_FILE_4Uhere_'"),
            (["-kernel", image, "-initrd", "_NO_FILE_"], "_NO_FILE_"),
            (["-krenel", image], "softvt: option '-krenel' is unknown; the nearest known one is '-kernel'\n$"),
            (["-device", "isa-debug-exti"], "'isa-debug-exti' is not modelled; the nearest known one is 'isa-debug-exit'"),
            (["-kernel", image, "-device", "edu,dma-mask=1"], "edu has no property 'dma-mask'; the nearest known one is 'dma_mask'"),
            (["-kernel", image, "-cpu", "Nehalam"], "nearest.*Nehalem"),
            (["-kernel", image, "-drive", f"if=none,id=d,file={image}", "-device", "ide-hd,drive=d,serial=123456789012345678901"],
             "at most 20 characters"),
            (["-kernel", image, "-drive", "file=_NO_FILE_"], "_NO_FILE_"),
            (["-kernel", image, "-serial", "chardev:x"], "there is no -chardev with id=x"),
            (["-kernel", image, "-serial", "stdio", "-monitor", "stdio"], "already in use"),
            (["-kernel", image, "-restore", "_NO_FILE_"], "could not open snapshot '_NO_FILE_'")):
        said, errors = context.run(*QUIET, *arguments, status=1, stderr=None)
        same("stdout", said, "")
        has(errors, sentence)
        same("lines on stderr", errors.count("\n"), 1)


def test_caps(context):
    """softvt caps: each VMX capability bit of a model, as text and as JSON, switched by name"""
    text = context.run("caps", "-cpu", "Westmere")[0]
    same("the first line", text.splitlines()[0], "CPU model Westmere.")
    has(context.run("caps", "-cpu", "Westmere,-vmx")[0].splitlines()[0], "CPU model Westmere, as it is with [+]vmx; without")
    has(text, r"^Basic VMX Information\n  Hex: 0xda1000[0-9a-f]{8}\n")
    has(text, r"^  VMCS memory type +6$")
    has(text, r"^  External-interrupt exiting +yes +vmx-intr-exit$")
    has(text, r"^  CR3-load exiting +default +vmx-cr3-load-noexit$")
    has(text, r"^  Enable VM functions +no +vmx-vmfunc$")
    has(text, r"^VM Functions\n  this processor has no IA32_VMX_VMFUNC \(MSR 491H\)$")
    has(context.run("caps", "-cpu", "Westmere,-vmx-true-ctls")[0], r"^  CR3-load exiting +forced +vmx-cr3-load-noexit$")
    for spec, offered, ept, vmfunc in (("max", True, "yes", "0x0000000000000001"), ("max,-vmx-ept", True, "no", "0x0000000000000000"),
                                       ("Westmere,-vmx", False, "yes", None)):
        found = json.loads(context.run("caps", "--json", "--cpu", spec)[0])
        same("model", found["model"], spec.split(",")[0])
        same("offered_to_guest", found["offered_to_guest"], offered)
        same("number of MSRs", len(found["msrs"]), 20)
        same("IA32_VMX_VMFUNC", found["msrs"]["IA32_VMX_VMFUNC"], vmfunc)
        same("vmx-ept", [bit["setting"] for bit in found["capabilities"] if bit["name"] == "vmx-ept"], [ept])
    has(context.run("caps", "-cpu", "Conroe,+vmx-pconfig", stderr=None)[1], "^softvt: warning: .*'vmx-pconfig' is not modelled$")
    for arguments, sentence in ((["-cpu", "Wetmere"], "the nearest known one is 'Westmere'"), (["-cpu", "max,+vmx-epd"], "'vmx-epd' is unknown"),
                                (["-kernel"], "'-kernel' is not understood"), (["-cpu"], "'-cpu' is not understood")):
        has(context.run("caps", *arguments, status=1, stderr=None)[1], sentence)
    has(context.run("caps", "-help")[0], "usage: softvt caps")
    has(context.run("caps", "-cpu", "help")[0], "Westmere")


def test_exit_status(context):
    """isa-debug-exit ends the machine with (value << 1) | 1, and a good run says nothing on stderr"""
    said, _ = context.run("-kernel", context.image(SAY_UP + EXIT_16), *QUIET, "-serial", "stdio", *DEBUG_EXIT, status=33)
    same("the console", said, "up\n")
    context.run("-kernel", context.image(out(0x501, 0)), *QUIET, "-device", "isa-debug-exit", status=1)


def test_signals(context):
    """SIGTERM and SIGINT end the machine with a line that says so"""
    image = context.image(SAY_UP + SPIN)
    for number in (signal.SIGTERM, signal.SIGINT):
        with context.start("-kernel", image, *QUIET, "-serial", "stdio") as child:
            wait_for(child, b"up\n")
            child.send_signal(number)
            errors = child.communicate(timeout=SECONDS)[1].decode()
        has(errors, f"terminating on signal {int(number)}")
        same("exit status", child.returncode, 0)


def test_files(context):
    """-serial file:, -debugcon file:, -pidfile"""
    image = context.image(SAY_UP + out(0xE9, *b"debug") + EXIT_16)
    context.run("-kernel", image, *QUIET, "-serial", "file:" + context.path("com1"), "-debugcon", "file:" + context.path("e9"),
                "-pidfile", context.path("pid"), *DEBUG_EXIT, status=33)
    with open(context.path("com1"), encoding="ascii") as com1, open(context.path("e9"), encoding="ascii") as debug:
        same("COM1", com1.read(), "up\n")
        same("port E9H", debug.read(), "debug")
    if os.path.exists(context.path("pid")):
        raise Failure("the PID file is left behind")
    with context.start("-kernel", context.image(SAY_UP + SPIN), *QUIET, "-serial", "stdio", "-pidfile", context.path("pid")) as child:
        wait_for(child, b"up\n")
        with open(context.path("pid"), encoding="ascii") as file:
            same("the PID file", file.read(), f"{child.pid}\n")
        child.kill()


def test_chardevs(context):
    """-chardev and -serial chardev:, -device isa-debugcon with -global"""
    image = context.image(SAY_UP + out(0x402, *b"log") + EXIT_16)
    said, _ = context.run("-kernel", image, *QUIET, "-chardev", "stdio,id=a", "-serial", "chardev:a",
                          "-chardev", f"file,id=b,path={context.path('log')}", "-device", "isa-debugcon,chardev=b",
                          "-global", "isa-debugcon.iobase=0x402", "-global", "nothing.at=all", *DEBUG_EXIT, status=33)
    same("the console", said, "up\n")
    with open(context.path("log"), encoding="ascii") as log:
        same("port 402H", log.read(), "log")


def test_feature_control(context):
    """fw_cfg has firmware enable VMX, when there is VMX"""
    # mov ax, 19h; out dx, ax; mov dx, 511h; mov ecx, 1000h; 1: in al, dx; out e9h, al; loop 1b: the directory
    image = context.image(b"\x66\xba\x10\x05\x66\xb8\x19\x00\x66\xef\x66\xba\x11\x05\xb9\x00\x10\x00\x00\xec\xe6\xe9\xe2\xfb" + EXIT_16)
    for cpu, wanted in (("max", 1), ("max,-vmx", 0), ("qemu64", 0)):
        said, _ = context.run("-kernel", image, *QUIET, "-cpu", cpu, "-debugcon", "stdio", *DEBUG_EXIT, status=33)
        same(cpu, said.count("etc/msr_feature_control"), wanted)


def test_triple_fault(context):
    """A triple fault resets; with -no-reboot it ends the machine, and -d cpu_reset shows the registers"""
    image = context.image(SAY_UP + TRIPLE)
    with context.start("-kernel", image, *QUIET, "-serial", "stdio") as child:
        wait_for(child, b"up\nup\nup\n")
        child.kill()
    said, errors = context.run("-kernel", image, *QUIET, "-serial", "stdio", "-no-reboot", "-d", "cpu_reset", stderr=None)
    same("the console", said, "up\n")
    has(errors, "^Triple fault")
    has(errors, "^RAX=[0-9a-f]{16} RBX=")


def test_explain_triple_fault(context):
    """-explain: a triple fault's chain of faults and the bad IDT entries, once however often it comes; -explain=json; off by default"""
    arguments = ["-kernel", context.image(SAY_UP + TRIPLE), *QUIET]
    _, errors = context.run(*arguments, "-no-reboot", "-explain", stderr=None)
    has(errors, rf"^softvt: #1: triple fault\n  CPU 0, outside VMX operation, at {ENTRY + len(SAY_UP) + 7:#x}, instruction 8$")
    has(errors, r"^  #GP\(0x1a\): IDT entry 3 lies beyond IDTR's limit \(base 0x0, limit 0\)$")
    has(errors, r"^  #GP\(0x43\) when #DF was to be delivered: IDT entry 8 ")
    _, errors = context.run(*arguments, "-no-reboot", "-explain=json", stderr=None)
    found = json.loads(errors)
    same("the JSON object", (found["event"], found["instructions"], len(found["faults"])), ("triple_fault", 8, 4))
    context.run(*arguments, "-no-reboot")
    with context.start(*arguments, "-serial", "stdio", "-explain") as child:
        wait_for(child, b"up\nup\nup\n")
        child.terminate()
        errors = child.communicate(timeout=SECONDS)[1].decode()
    same("explanations", errors.count("#GP(0x1a)"), 1)
    has(errors, r"^softvt: #1: triple fault \(repeated \d+ times\)$")


FIVE = {"ctl.cr3_target.count": "too_many_cr3_targets", "host.cs.nonnull": "null_code_segment", "guest.cs.ar.g_low": "limit_not_of_whole_pages",
        "guest.rflags.bit1": "flags_without_bit_1", "guest.activity.range": "no_such_activity"}


def test_explain_five_rules(context):
    """-explain: a VMLAUNCH that breaks five rules at once lists five ids, each with the function that wrote the field"""
    arguments = ["-kernel", context.built("five_rules"), *QUIET, "-serial", "stdio", *DEBUG_EXIT]
    said, errors = context.run(*arguments, "-explain", status=33, stderr=None)
    has(said, r"^PASS five_rules/five-rules: 40 7$")
    has(errors, r"^softvt: #1: VMLAUNCH failed, VMfailValid\(7\): VM entry with invalid control fields$")
    has(errors, r"^  CPU 0, VMX root operation, at 0x[0-9a-f]+ <enter\+0x[0-9a-f]+>, instruction \d+, VMCS 0x[0-9a-f]+$")
    same("the rules", re.findall(r"^  ([a-z0-9_.]+): VM", errors, re.M), list(FIVE))
    for function in FIVE.values():
        has(errors, rf", VMWRITE at 0x[0-9a-f]+ <{function}\+0x[0-9a-f]+>, instruction \d+$")
    has(errors, r"^softvt: #2: VMRESUME failed, VMfailValid\(5\): [^\n]*\n[^\n]*\n  it is clear: VMLAUNCH enters it the first time")
    has(errors, r"^softvt: #2: .* \(repeated 9 times\)$")
    has(errors, r"^softvt: #3: triple fault of a guest.*\n  CPU 0, VMX non-root operation, at 0x[0-9a-f]+ <guest_code\+0x[0-9a-f]+>, ")
    _, aborted = context.run(*arguments, "-explain", "-append", "abort", "-no-reboot", stderr=None)
    has(aborted, r"^softvt: #4: VMX abort, indicator 4: an MSR of the host could not be loaded\n  CPU 0, [^\n]*, at 0x[0-9a-f]+ <guest_code")
    has(aborted, r"^  entry 1, at 0x[0-9a-f]+: MSR 0xc0000080 IA32_EFER, value 0xffffffffffffffff: WRMSR would raise #GP\(0\)")
    has(aborted, r"^  VM_EXIT_MSR_LOAD_ADDRESS = 0x[0-9a-f]+, VMWRITE at 0x[0-9a-f]+ <abort_vmx\+0x[0-9a-f]+>, instruction \d+$")
    context.run(*arguments, status=33)  # off where stderr is no terminal
    _, errors = context.run(*arguments, "-explain=json", status=33, stderr=None)
    first, second, third, repeated = [json.loads(line) for line in errors.splitlines()]
    same("the ids", [rule["id"] for rule in first["rules"]], list(FIVE))
    same("what softvt check calls it", set(first["rules"][0]) - {"written"}, {"id", "group", "section", "outcome", "must_hold", "fields"})
    same("who wrote it", first["rules"][0]["written"]["CR3_TARGET_COUNT"]["symbol"], "too_many_cr3_targets")
    same("the others", (second["event"], third["event"], repeated), ("instruction_failed", "triple_fault",
                                                                     {"event": "repeated", "number": 2, "times": 10}))


def test_vmx_trace(context):
    """-d vmx: a line for each transition; -exits: counts, shares and times, the same in each run"""
    arguments = ["-kernel", context.built("five_rules"), *QUIET, *DEBUG_EXIT]
    _, errors = context.run(*arguments, "-d", "vmx", status=33, stderr=None)
    for line in (r"VMXON 0x[0-9a-f]+ at 0x", r"VMPTRLD 0x[0-9a-f]+ at 0x", r"VMLAUNCH at 0x[0-9a-f]+, VMCS 0x[0-9a-f]+: VMfailValid\(7\), ctl\.cr3_",
                 r"VMLAUNCH, VMCS 0x[0-9a-f]+: guest RIP 0x", r"VM exit, VMCS 0x[0-9a-f]+: reason 10, CPUID, leaf 0\.0; RIP 0x[0-9a-f]+ length 2$",
                 r"VM exit, VMCS 0x[0-9a-f]+: reason 12, HLT; ", r"VM exit, VMCS 0x[0-9a-f]+: reason 2, Triple fault; "):
        has(errors, "^cpu 0: " + line)
    same("VM exits", errors.count("VM exit,"), 5)
    has(context.run("-d", "help")[0], "^vmx +VMX transitions")
    _, errors = context.run(*arguments, "-exits", status=33, stderr=None)
    has(errors, r"^VM exits of VMCS 0x[0-9a-f]+: 5 entries, 5 exits, ")
    has(errors, r"^ +CPUID +3 +60\.00% ")
    same("another run", context.run(*arguments, "-exits", status=33, stderr=None)[1], errors)
    context.run(*arguments, f"-exits={context.path('exits.json')}", status=33)
    with open(context.path("exits.json"), encoding="utf-8") as file:
        guest, = json.load(file)["guests"]
    same("reasons", [(row["name"], row["count"]) for row in guest["reasons"]], [("CPUID", 3), ("Triple fault", 1), ("HLT", 1)])
    same("the sum of times", sum(row["time_ns"] for row in guest["reasons"]), guest["root_ns"])
    context.run(*arguments, "-exits=/nowhere/exits", status=33,
                stderr="softvt: could not open '/nowhere/exits' for statistics of VM exits: No such file or directory\n")


def test_monitor_vmx(context):
    """info vmx, info vmcs (which softvt check reads and finds clean), info ept, and the level in info cpus"""
    with context.start("-kernel", context.built("five_rules"), "-append", "spin", *QUIET, "-serial", "mon:stdio", "-smp", "2") as child:
        wait_for(child, b"spinning\n")
        child.stdin.write(b"\x01cinfo vmx\ninfo vmcs\ninfo ept 0x234567\ninfo ept 0x40000000\ninfo ept 0x1000000000000\ninfo cpus\ncpu 1\ninfo vmcs\ninfo version\n")
        child.stdin.flush()
        said = wait_for(child, b"SoftVT 0.").decode().replace("\r", "")
        child.kill()
    has(said, r"^CPU#0: VMX non-root operation; VMXON pointer 0x[0-9a-f]+\n  current VMCS 0x[0-9a-f]+, launched\n")
    has(said, r"^  6 VM entries, 5 VM exits$")
    has(said, r"^    CPUID +3$")
    has(said, r"^CPU#1: outside VMX operation; CR4.VMXE 0, IA32_FEATURE_CONTROL 0")
    has(said, r"^  PML4E at 0x[0-9a-f]+ = 0x[0-9a-f]+  rwx\n  PDPTE at .*\n  PDE   at 0x[0-9a-f]+ = 0x00000000002000b7  rwx  2-MiB page, WB$")
    has(said, r"^guest-physical 0x234567 is physical 0x234567, rwx$")
    has(said, r"^  PDPTE at 0x[0-9a-f]+ = 0x0000000000000000  ---  not present: an access is an EPT violation$")
    has(said, r"^0x1000000000000 has more bits than 4 levels map")
    has(said, r"^\* CPU #0: rip=0x[0-9a-f]+ \[non-root, VMCS 0x[0-9a-f]+\]$")
    has(said, r"^CPU#1 has no current VMCS$")
    with open(context.path("dump"), "w", encoding="utf-8") as file:
        file.write(said)
    found, = json.loads(context.run("check", "-json", "-cpu", "max", context.path("dump"))[0])
    same("the dump", (found["layout"], found["violated"]), ("SoftVT", []))


def test_stats(context):
    """-stats: two runs have the same digest and instruction count, another program has another"""
    seen = []
    for code in (COUNT, COUNT, COUNT[:1] + b"\x01" + COUNT[2:]):
        _, errors = context.run("-kernel", context.image(code + EXIT_16), *QUIET, "-stats", *DEBUG_EXIT, status=33, stderr=None)
        seen.append((has(errors, r"^digest: ([0-9a-f]{32})$")[1], int(has(errors, r"^cpu 0: (\d+) instructions")[1])))
    same("the second run", seen[1], seen[0])
    if seen[2][0] == seen[0][0]:
        raise Failure("another run has the same digest")
    if seen[0][1] < 2 * 0x100000:
        raise Failure(f"only {seen[0][1]} instructions were counted")
    # mov edi, 200000h; mov ecx, 100000; rep stosb; mov ecx, 5; rep movsd: each element counts
    code = bytes.fromhex("bf00002000 b9a0860100 f3aa b905000000 f3a5")
    _, errors = context.run("-kernel", context.image(code + EXIT_16), *QUIET, "-stats", *DEBUG_EXIT, status=33, stderr=None)
    accesses = int(has(errors, r"^TLB: .* of (\d+) accesses hit$")[1])
    if not 100010 <= accesses < 101000:
        raise Failure(f"100010 accesses are counted as {accesses}")


def test_long_string(context):
    """A REP that takes more than a turn goes on as fast as it began"""
    code = b"\xbf\0\0\x40\0\xb9\0\0\xc0\0\xf3\xaa"  # mov edi, 400000H; mov ecx, 12 MiB; rep stosb
    _, errors = context.run("-kernel", context.image(code + EXIT_16), *QUIET, "-stats", "-m", "32", *DEBUG_EXIT, status=33, stderr=None)
    entered = int(has(errors, r"blocks: (\d+) entered")[1])
    if entered > 1000:
        raise Failure(f"it took {entered} blocks")
    return f"{entered} blocks"


def test_monitor(context):
    """-monitor stdio: registers, memory, disassembly, expressions, errors, quit"""
    text = ("info status\nstop\ninfo status\ninfo registers\nx/3i 0x100020\nxp /4xb 0x100000\np 6*7\np/d -1\ngva2gpa 0x100000\n"
            "info vmx\ninfo vmcs\ninfo ept\ninfo ept 0x1000\ninfo pci\ninfo mtree\ninfo lapic\ninfo cpus\ninfo qtree\ninfo block\ninfo irq\ninfo pic\ninfo mem\ninfo tlb\n"
            "info version\ninfo stats\nfrobnicate\ninfo regsters\nhelp\nquit\n")
    said, _ = context.run("-kernel", context.image(SAY_UP + SPIN), *QUIET, "-monitor", "stdio", text=text)
    has(said, r"^VM status: running")
    has(said, r"^VM status: paused")
    has(said, r"^CPU#0: 32-bit protected mode")
    has(said, r"0x0*100020:  66 ba f8 03 +mov dx, 0x3F8")
    has(said, r"^0*100000: 0x02 0xb0 0xad 0x1b")
    has(said, r"^0x2a$")
    has(said, r"^-1$")
    has(said, r"^gpa: 0x100000$")
    has(said, r"8086:29c0")
    has(said, r"^CPU#0: (this CPU model has no VMX|outside VMX operation; CR4.VMXE 0)")
    has(said, r"^info ept ADDRESS \[EPTP\]: the guest-physical address is missing$")
    same("answers without a VMCS", said.count("CPU#0 has no current VMCS\n"), 2)
    has(said, r"-0*fffff? .*ram|ram")
    has(said, r"^PG disabled")
    has(said, r"command 'frobnicate' is unknown")
    has(said, r"subject 'regsters' is unknown; the nearest known one is 'registers'")
    has(said, r"^digest: ")


def test_monitor_on_the_terminal(context):
    """mon:stdio: Ctrl-A c goes to the monitor and back, Ctrl-A x quits"""
    with context.start("-kernel", context.image(SAY_UP + SPIN), "-nographic", "-nodefaults", "-serial", "mon:stdio") as child:
        wait_for(child, b"up\n")
        child.stdin.write(b"\x01cinfo status\n")
        child.stdin.flush()
        wait_for(child, b"VM status: running")
        child.stdin.write(b"\x01c\x01x")
        child.stdin.flush()
        child.communicate(timeout=SECONDS)
    same("exit status", child.returncode, 0)


def test_snapshot(context):
    """savevm, then -restore: the run goes on to the same end"""
    image, snapshot = context.image(COUNT * 40 + EXIT_16), context.path("snapshot")
    arguments = ["-kernel", image, *QUIET, *DEBUG_EXIT, "-stats"]
    _, errors = context.run(*arguments, status=33, stderr=None)
    whole = has(errors, r"^digest: (\w+)$")[1]
    context.run("-kernel", image, *QUIET, *DEBUG_EXIT, "-S", "-monitor", "stdio", text=f"savevm {snapshot}\nquit\n")
    _, errors = context.run(*arguments, "-restore", snapshot, status=33, stderr=None)
    same("the digest from the snapshot on", has(errors, r"^digest: (\w+)$")[1], whole)
    context.run(*arguments, "-m", "64", "-restore", snapshot, status=1, stderr=None)
    with open(snapshot, "r+b") as file:
        file.truncate(os.path.getsize(snapshot) // 2)
    has(context.run(*arguments, "-restore", snapshot, status=1, stderr=None)[1], "snapshot")


def test_gdb(context):
    """gdb: registers, memory, breakpoints, steps, changing a register, monitor commands, kill"""
    code = b"\x31\xc0\x40\x40\x40" + EXIT_16  # xor eax, eax; three times inc eax
    with tempfile.TemporaryDirectory(dir="/tmp") as short:  # paths of sockets are short
        where = os.path.join(short, "gdb")
        with context.start("-kernel", context.image(code), *QUIET, *DEBUG_EXIT, "-S", "-gdb", f"unix:{where}") as child:
            end = time.monotonic() + SECONDS
            while not os.path.exists(where) and time.monotonic() < end:
                time.sleep(0.01)
            commands = [f"target remote {where}", "printf \"rip %#lx\\n\", $rip", "info threads",
                        f"break *{ENTRY + 4:#x}", "continue", "printf \"eax %d\\n\", (int)$rax", "stepi",
                        "printf \"eax %d\\n\", (int)$rax", "delete", f"x/2xb {ENTRY:#x}", f"set *(char*){BASE:#x} = 7",
                        f"x/1xb {BASE:#x}", "printf \"cr0 %lx\\n\", $cr0", "monitor info status", "set $rax = 99",
                        "printf \"rax %d\\n\", (int)$rax", "continue"]
            gdb = ["gdb", "-nx", "-batch", "-ex", "set confirm off", "-ex", "set architecture i386:x86-64"]
            for command in commands:
                gdb += ["-ex", command]
            said = subprocess.run(gdb, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False, text=True)
            text = said.stdout + said.stderr
            child.wait(timeout=SECONDS)
    has(text, f"^rip {ENTRY:#x}")
    has(text, r"CPU#0 \[running\]")
    has(text, r"^eax 2")
    has(text, r"^eax 3")
    has(text, r"0x31\s+0xc0")
    has(text, r"0x07")
    has(text, r"^cr0 [0-9a-f]*1$")
    has(text, r"^VM status: paused")
    has(text, r"^rax 99")
    has(text, r"exited with code 041|exited")
    same("exit status", child.returncode, 33)


def test_gdb_vmx(context):
    """gdb sees which level runs: in the list of threads, and by monitor info vmx"""
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        where = os.path.join(short, "gdb")
        with context.start("-kernel", context.built("five_rules"), "-append", "spin", *QUIET, "-serial", "stdio", "-gdb", f"unix:{where}") as child:
            wait_for(child, b"spinning\n")
            commands = [f"target remote {where}", "info threads", "monitor info vmx", "kill"]
            gdb = ["gdb", "-nx", "-batch", "-ex", "set confirm off", "-ex", "set architecture i386:x86-64"]
            for command in commands:
                gdb += ["-ex", command]
            said = subprocess.run(gdb, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False, text=True)
            child.communicate(timeout=SECONDS)
    has(said.stdout + said.stderr, r"CPU#0 \[running, non-root, VMCS 0x[0-9a-f]+\]")
    has(said.stdout + said.stderr, r"^  current VMCS 0x[0-9a-f]+, launched$")


def test_gdb_interrupt(context):
    """-s: a client stops a running machine by talking to it, and Ctrl-C answers with T02"""
    probe = socket.socket()
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
    probe.close()
    with context.start("-kernel", context.image(SAY_UP + SPIN), *QUIET, "-serial", "stdio", "-smp", "2",
                       "-gdb", f"tcp:127.0.0.1:{port}") as child:
        wait_for(child, b"up\n")
        with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as client:
            client.settimeout(SECONDS)

            def packet(body):
                client.sendall(b"$" + body + b"#%02x" % (sum(body) & 0xFF))

            def reply():
                text = b""
                while not re.search(rb"\$[^#]*#..", text):
                    text += client.recv(4096)
                client.sendall(b"+")
                return re.search(rb"\$([^#]*)#", text)[1]

            packet(b"vMustReplyEmpty")
            same("the reply to the unknown", reply(), b"")
            packet(b"qfThreadInfo")
            same("the threads", reply(), b"m01,02")
            packet(b"vCont;c")
            client.sendall(b"\x03")
            has(reply().decode(), "^T02thread:0")
            packet(b"k")
        child.communicate(timeout=SECONDS)
    same("exit status", child.returncode, 0)


def test_check(context):
    """softvt check: broken rules of dumped VMCSs by id, what cannot be judged apart from them, and three exit statuses"""
    def dump(name):
        return os.path.join(ROOT, "tests", "vmx", "dumps", name)

    def judge(*arguments, status):
        found = json.loads(context.run("check", "-json", *arguments, status=status)[0])
        return [([rule["id"] for rule in one["violated"]], one) for one in found]

    for name, layout, cpu, status, ids in (
            ("kvm.txt", "KVM", [], 0, []),
            ("kvm.txt", "KVM", ["-cpu", "max"], 0, []),
            # The host was a processor with UMIP, which this model has not.
            ("kvm.txt", "KVM", ["-cpu", "Skylake-Server"], 1, ["host.cr4.fixed"]),
            ("kvm_old.txt", "KVM", [], 1, ["guest.cs.ar.type", "guest.tr.ar.type", "guest.rflags.if_extint"]),
            # RIP is wrong with 48 linear-address bits, and right with 57.
            ("xen.txt", "Xen", [], 0, []),
            ("xen.txt", "Xen", ["-cpu", "max,la57=off"], 1, ["guest.rip.identity"]),
            ("xen.txt", "Xen", ["-cpu", "max,la57=on"], 0, []),
            ("cut.txt", "KVM", [], 0, [])):
        (violated, one), = judge(*cpu, dump(name), status=status)
        same(f"what {name} breaks with {cpu}", (one["layout"], violated), (layout, ids))
    (_, one), = judge(dump("xen.txt"), status=0)
    same("an undecided rule", "guest.rip.identity" in one["cannot_judge"], True)
    (_, one), = judge(dump("cut.txt"), status=0)
    same("a rule of fields that were cut off", "host.cr0.fixed" in one["cannot_judge"], True)
    same("one of fields that were not", "guest.cr0.fixed" in one["cannot_judge"], True)
    same("one that needs no more", "guest.cr4.cet_wp" in one["cannot_judge"], False)
    # Two dumps of one file, and an MSR that no entry loads.
    with open(dump("kvm.txt"), encoding="utf-8") as file:
        text = file.read()
    with open(context.path("two"), "w", encoding="utf-8") as file:
        file.write(text + text.replace("msr=0x00000600", "msr=0xc0000101"))
    (first, _), (second, one) = judge(context.path("two"), status=1)
    same("two dumps", (first, second), ([], ["msr.fs_gs_base"]))
    has(one["violated"][0]["outcome"], "exit reason 34, qualification 1$")
    said = context.run("check", dump("kvm_old.txt"), status=1)[0]
    has(said, r"kvm_old\.txt:1: VMCS as KVM prints it, \d+ fields: 3 rules violated, \d+ cannot be judged$")
    has(said, r"GUEST_CS_AR = 0xc09a")
    context.run("check", context.path("none"), status=2, stderr=None)
    with open(context.path("none"), "w", encoding="utf-8") as file:
        file.write("CR0: actual=0x0000000080010031\n")
    context.run("check", context.path("none"), status=2, stderr=f"softvt: check: '{context.path('none')}' has no VMCS dump as KVM, Xen or "
                "SoftVT print it\n")
    for wrong in (["-cpu", "Nehalen"], ["-krenel"], []):
        context.run("check", *wrong, *([dump("kvm.txt")] if wrong else []), status=2, stderr=None)


def run_one(name, options):
    begin = time.monotonic()
    try:
        with tempfile.TemporaryDirectory() as directory:
            TESTS[name](Context(options.softvt, directory))
        return True, f"ok {name} ({time.monotonic() - begin:.1f} s)"
    except Exception as reason:  # pylint: disable=broad-except
        kind = "" if isinstance(reason, Failure) else f"{type(reason).__name__}: "
        return False, f"FAIL {name} ({time.monotonic() - begin:.1f} s): {kind}{reason}"


TESTS = {name[5:]: function for name, function in list(globals().items()) if name.startswith("test_")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(ROOT, "build"), help="build directory")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("tests", nargs="*", help="names; all of them by default")
    options = parser.parse_args()
    options.softvt = os.path.join(options.build, "softvt")
    names = options.tests or list(TESTS)
    unknown = [name for name in names if name not in TESTS]
    if unknown:
        sys.exit(f"cli: there is no test {', '.join(unknown)}; there are {', '.join(TESTS)}")
    subprocess.run(["ninja", "-C", options.build, "--quiet"] + [f"tests/cli/{image}.elf" for image in IMAGES], check=True)
    failed = 0
    with ThreadPoolExecutor(max(1, options.jobs)) as pool:
        for future in as_completed([pool.submit(run_one, name, options) for name in names]):
            good, line = future.result()
            failed += not good
            print(line, flush=True)
    print(f"{len(names) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
