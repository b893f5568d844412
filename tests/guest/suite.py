#!/usr/bin/env python3
"""Runs all guest images under SoftVT and compares each line of their reports with QEMU's and Bochs' (see run.py).

A line that agrees, or differs as known_differences.txt says, has passed. What of VMX was exercised follows (coverage.py).
"""
import argparse
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed

import coverage

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
RESULT = re.compile(r"^(\S+)\s+(\d+) lines, (?:same|(\d+) differences)$", re.M)


def compare(chapter, options):
    """Returns (passed, failed, what to print) of one image."""
    begin = time.monotonic()
    image = os.path.join(options.build, "tests", "guest", chapter + ".elf")
    child = subprocess.run([sys.executable, os.path.join(HERE, "run.py"), "--compare", options.peers, "--softvt",
                            os.path.join(options.build, "softvt"), "--cache", os.path.join(options.build, "guest-peers"),
                            "--reports", os.path.join(options.build, "guest-reports"),
                            image], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    result = RESULT.search(child.stdout)
    lines, differences = (int(result[2]), int(result[3] or 0)) if result else (0, 1)
    if child.returncode and not differences:
        differences = 1
    seconds = time.monotonic() - begin
    if not differences and lines:
        return lines, 0, f"ok {chapter}: {lines} lines ({seconds:.1f} s)"
    differences = max(differences, 1)
    return max(lines - differences, 0), differences, f"FAIL {chapter} ({seconds:.1f} s)\n{child.stdout.rstrip()}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(ROOT, "build"), help="build directory")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--peers", default="qemu,bochs")
    options = parser.parse_args()
    options.build = os.path.abspath(options.build)

    with open(os.path.join(HERE, "chapters.txt"), encoding="ascii") as file:
        chapters = [line.split()[0] for line in file if line.strip()]
    subprocess.run(["ninja", "-C", options.build, "--quiet"] + [f"tests/guest/{name}.elf" for name in chapters], check=True)
    passed = failed = 0
    with ThreadPoolExecutor(max(1, min(options.jobs, 2))) as pool:
        for future in as_completed([pool.submit(compare, name, options) for name in chapters]):
            good, bad, text = future.result()
            passed, failed = passed + good, failed + bad
            print(text, flush=True)
    said, missing = coverage.listing(os.path.join(options.build, "guest-reports"))
    print("\n".join(said))
    passed, failed = passed + (not missing), failed + missing
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
