#!/usr/bin/env python3
"""Runs every test there is and ends with one line, `N passed, M failed`.

A suite is one of Meson's (`suite: 'unit'` of a test), or a directory tests/NAME with a suite.py in it. suite.py is called
with --build DIR and --jobs N, prints a line for each test as it goes, ends with a line `N passed, M failed` (`, K skipped`
may follow) and returns non-zero if something failed. A suite that says no count, or counts nothing, has failed: a test
that did not run must not look like one that passed.
"""
import argparse
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ORDER = ["layout", "unit", "cli", "engines", "guest", "snapshot", "boot", "kvm", "xen", "vmm"]  # cheap first; others follow by name
QUIET_SECONDS = 30  # a silent suite is said to be alive this often
SUITE_SECONDS = 40 * 60
COUNT = re.compile(r"^(?:\w+: )?(\d+) passed, (\d+) failed(?:, (\d+) skipped)?\.?$")


def say(suite, text):
    print(f"[{suite}] {text}", flush=True)


def stream(suite, command, seconds=SUITE_SECONDS):
    """Runs a command, passes its lines on as they come, and returns (exit status, the lines)."""
    env = dict(os.environ, PYTHONUNBUFFERED="1")
    env.setdefault("ASAN_OPTIONS", "detect_leaks=1")
    env.setdefault("UBSAN_OPTIONS", "halt_on_error=1:print_stacktrace=1")
    child = subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, start_new_session=True)
    lines, rest = [], b""
    begin = last = time.monotonic()
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            while True:
                ready = selector.select(timeout=1)
                now = time.monotonic()
                if ready:
                    chunk = os.read(child.stdout.fileno(), 65536)
                    if not chunk:
                        child.wait()
                        break
                    *whole, rest = (rest + chunk).split(b"\n")
                    for line in whole:
                        lines.append(line.decode(errors="replace").rstrip())
                        say(suite, lines[-1])
                    last = now
                elif now - last > QUIET_SECONDS:
                    say(suite, f"... running for {now - begin:.0f} s")
                    last = now
                if now - begin > seconds:
                    say(suite, f"stopped: not done after {seconds} s")
                    break
    finally:
        if child.poll() is None:  # too slow, or interrupted from the keyboard: with everything it started
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    if rest:
        lines.append(rest.decode(errors="replace").rstrip())
        say(suite, lines[-1])
    return child.returncode, lines


def counted(status, lines):
    """The count that a suite ended with, made to agree with its exit status."""
    for line in reversed(lines):
        match = COUNT.match(line.strip())
        if match:
            passed, failed, skipped = (int(n or 0) for n in match.groups())
            break
    else:
        return 0, 1, 0
    if status != 0 and failed == 0 or passed + failed + skipped == 0:
        failed += 1
    return passed, failed, skipped


def meson_suites(build):
    """The names of Meson's suites, without the project's name before them."""
    tests = subprocess.run(["meson", "introspect", build, "--tests"], check=True, capture_output=True, text=True).stdout
    return {name.rsplit(":", 1)[-1] for test in json.loads(tests) for name in test["suite"]}


def inside(result):
    """What one of Meson's test programs counted: by a last line of its own, by cmocka's, or it is one test itself."""
    text = result.get("stdout", "") + result.get("stderr", "")
    good = result["result"] in ("OK", "EXPECTEDFAIL")
    if result["result"] == "SKIP":
        return 0, 0, 1
    lines = text.rstrip().splitlines()
    if lines and COUNT.match(lines[-1]):
        return counted(not good, lines)
    passed, failed, skipped = (sum(map(int, re.findall(rf"\[  {word}  \] (\d+) test", text)))
                               for word in ("PASSED", "FAILED", "SKIPPED"))
    if good and passed == failed == 0:
        passed = 1
    elif not good and failed == 0:
        failed = 1  # it died before it could say
    return passed, failed, skipped


def meson(suite, build, jobs):
    log = os.path.join(build, "meson-logs", "testlog.json")
    if os.path.exists(log):
        os.unlink(log)
    status, _ = stream(suite, ["meson", "test", "-C", build, "--suite", suite, "--no-rebuild", "--num-processes", str(jobs),
                               "--print-errorlogs"])
    rows = []
    if os.path.exists(log):
        with open(log, encoding="utf-8", errors="replace") as file:
            rows = [inside(json.loads(line)) for line in file]
    passed, failed, skipped = (sum(row[i] for row in rows) for i in range(3))
    if status != 0 and failed == 0 or passed + failed == 0:
        failed += 1
    return passed, failed, skipped


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build", help="build directory")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--suites", help="comma-separated names; all of them by default")
    options = parser.parse_args()
    os.chdir(ROOT)
    sys.stdout.reconfigure(line_buffering=True)

    found = {name: os.path.join("tests", name, "suite.py") for name in sorted(os.listdir("tests"))
             if os.path.exists(os.path.join("tests", name, "suite.py"))}
    programs = meson_suites(options.build)
    names = sorted(programs | set(found), key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
    if options.suites:
        wanted = options.suites.split(",")
        unknown = [name for name in wanted if name not in names]
        if unknown:
            sys.exit(f"test: there is no suite {', '.join(unknown)}; there are: {', '.join(names)}")
        names = [name for name in names if name in wanted]

    rows = []
    for name in names:
        begin = time.monotonic()
        say(name, "begins")
        counts = []
        if name in programs:
            counts.append(meson(name, options.build, options.jobs))
        if name in found:
            command = [sys.executable, found[name], "--build", options.build, "--jobs", str(options.jobs)]
            counts.append(counted(*stream(name, command)))
        count = [sum(row[i] for row in counts) for i in range(3)]
        rows.append((name, *count, time.monotonic() - begin))
        say(name, "%d passed, %d failed, %d skipped in %.0f s" % rows[-1][1:])

    print(f"\n{'suite':<10}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}")
    for row in rows:
        print("%-10s%8d%8d%9d%9.0f" % row)
    passed, failed, skipped = (sum(row[i] for row in rows) for i in (1, 2, 3))
    print(f"\n{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
