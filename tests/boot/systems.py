"""What suites share that boot real systems and watch their consoles.

A suite calls run() with its functions named test_*; each is called with a Context, and fails by raising. By default the
machine is BUILD/softvt; `--emulator qemu-system-x86_64` runs the same tests on QEMU (TCG), which shows whether a failure is
the test's own fault. Consoles are kept in BUILD/SUITE-logs.
"""
import argparse
import os
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed

from machine import Failure, Machine

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ASSETS = os.environ.get("ASSETS", os.path.join(ROOT, "build", "assets"))
READY = r"SoftVT guest ready\n"
BOOT_SECONDS = 180
# What a kernel says when it is unhappy with its machine. Debian's own kernels say none of these on a sound one.
TROUBLE = re.compile(r"(?:BUG:|WARNING:|Oops|Call Trace|Kernel panic|general protection|double fault|nobody cared|"
                     r"Hardware Error|soft lockup|rcu: INFO|unstable|I/O error|\[Firmware Bug\]).*")


class Skipped(Exception):
    """This test does not apply to this emulator."""


class Context:
    """What a test needs to start machines: the emulator, and where its logs go."""

    def __init__(self, options, name):
        self.emulator, self.build, self.scale = options.emulator, options.build, options.scale
        self.qemu = "qemu" in os.path.basename(options.emulator)
        self.log = os.path.join(options.logs, name)
        self.started = 0

    def start(self, *arguments, memory="1G", terminal=False):
        """A machine with a serial console; QEMU is held to the board, engine and clock that the other always has."""
        self.started += 1
        command = [self.emulator, "-machine", "q35", "-m", memory, "-nographic"]
        if self.qemu:
            command += ["-accel", "tcg"]
        return Machine(command + list(arguments), f"{self.log}-{self.started}.log", self.scale, terminal)

    def linux(self, *arguments, arch="amd64", initrd="initrd", append="", **more):
        if self.qemu:
            append += " tsc=reliable"  # the TSCs of its vCPUs are those of host threads, and the kernel complains
        return self.start("-kernel", f"{ASSETS}/{arch}/vmlinuz", "-initrd", f"{ASSETS}/{arch}/{initrd}",
                          "-append", f"console=ttyS0 panic=-1 {append}".strip(), *arguments, **more)


def healthy(text):
    trouble = TROUBLE.search(text)
    if trouble:
        raise Failure(f"the guest is in trouble: {trouble[0]}")


def same(what, found, expected):
    if found != expected:
        raise Failure(f"{what} is {found!r}, not {expected!r}")


def to_shell(machine, seconds=BOOT_SECONDS):
    """Waits for the prompt, and there starts a reader of lines that neither echoes nor edits: its answers are plain."""
    machine.expect(READY, seconds)
    machine.expect("# ", 30)
    machine.send("stty -echo; echo plain'='yes; while read -r line; do eval \"$line\"; done\n")
    machine.expect(r"plain=yes\n", 30)
    machine.shell("dmesg -n 1")  # the kernel's own lines would fall amid answers


def power_off(machine):
    """Leaves the shell; init then powers off by ACPI, and the emulator must end with status 0."""
    healthy(machine.shell("dmesg"))
    machine.shell("dmesg -n 8")
    machine.send("exit\n")
    machine.expect(r"reboot: Power down", 60)
    machine.wait(30)


def run_one(name, test, options):
    begin = time.monotonic()
    try:
        said = test(Context(options, name))
        verdict, why = "ok", f": {said}" if said else ""
    except Skipped as reason:
        verdict, why = "skip", f": {reason}"
    except Failure as reason:
        verdict, why = "FAIL", f": {reason} (console: {os.path.join(options.logs, name)}-*.log)"
    except Exception as reason:  # pylint: disable=broad-except
        verdict, why = "FAIL", f": {type(reason).__name__}: {reason}"
    return verdict, f"{verdict} {name} ({time.monotonic() - begin:.1f} s){why}"


def run(suite, description, names, needed):
    """The suite's command line: runs what is called test_* among `names`, if the asset `needed` is there.

    A test returns what its line should say when it passed, or None.
    """
    tests = {name[5:]: function for name, function in names.items() if name.startswith("test_")}
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(ROOT, "build"), help="build directory")
    parser.add_argument("--emulator", help="the program to test; by default BUILD/softvt")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--scale", type=float, default=1.0, help="stretches every time limit")
    parser.add_argument("--list", action="store_true", help="only say what there is")
    parser.add_argument("tests", nargs="*", help="names; all of them by default")
    options = parser.parse_args()
    if options.list:
        for name, function in tests.items():
            print(f"{name:<20}{function.__doc__}")
        return
    unknown = [name for name in options.tests if name not in tests]
    if unknown:
        sys.exit(f"{suite}: there is no test {', '.join(unknown)}; --list says what there is")
    if not os.path.exists(os.path.join(ASSETS, needed)):
        sys.exit(f"{suite}: nothing to boot in {ASSETS}; `make assets` fetches it")
    options.emulator = options.emulator or os.path.join(options.build, "softvt")
    options.logs = os.path.join(options.build, f"{suite}-logs")
    os.makedirs(options.logs, exist_ok=True)

    names = options.tests or list(tests)
    counts = {"ok": 0, "FAIL": 0, "skip": 0}
    with ThreadPoolExecutor(max(1, min(options.jobs, 2))) as pool:
        for future in as_completed([pool.submit(run_one, name, tests[name], options) for name in names]):
            verdict, line = future.result()
            counts[verdict] += 1
            print(line, flush=True)
    skipped = f", {counts['skip']} skipped" if counts["skip"] else ""
    print(f"{counts['ok']} passed, {counts['FAIL']} failed{skipped}")
    sys.exit(1 if counts["FAIL"] else 0)
