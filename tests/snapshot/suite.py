#!/usr/bin/env python3
"""Snapshots in the middle of the virtual machines of tests/guest's VMX images: they go on to the same end (see main.c)."""
import argparse
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default=os.path.join(ROOT, "build"), help="build directory")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    with open(os.path.join(ROOT, "tests", "guest", "chapters.txt"), encoding="ascii") as file:
        images = [f"tests/guest/{line.split()[0]}.elf" for line in file if line.startswith("vmx_")]
    program = "tests/snapshot/snapshots"
    subprocess.run(["ninja", "-C", options.build, "--quiet", program, *images], check=True)
    sys.exit(subprocess.run([program, *images], cwd=options.build, check=False,
                            executable=os.path.join(os.path.abspath(options.build), program)).returncode)


if __name__ == "__main__":
    main()
