#!/usr/bin/env python3
"""Holds the sources to the rules that no compiler checks: which folder may include which, how a file begins, what is documented."""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Includes point one way: a folder may include those of the rows above, and of its own row those to its left.
ROWS = ["spec base", "clock net bus cpu decode", "mem apic pci console firmware", "vmx vtd chipset storage i82576 testdev",
        "smm", "exec", "interp jit", "machine", "debug", "tools"]
NEVER = {("jit", "interp")}  # the engines do not know each other
# The VMM includes itself and spec/. Its folders of one row may include each other: all of them work on a VM.
VMM_ROWS = ["lib", "cpu", "vmx guest devices sched console", "demo", "boot"]
VMM_UP = {("lib", "console"), ("cpu", "console"), ("guest", "boot")}  # print(), COM1's interrupt, the modules that were loaded
VMM_ORDER = {folder: row for row, text in enumerate(VMM_ROWS) for folder in text.split()}
VMM_STANDARD = {"stdarg.h", "stdbool.h", "stddef.h", "stdint.h"}  # all that a freestanding program has
ORDER = {folder: (row, column) for row, text in enumerate(ROWS) for column, folder in enumerate(text.split())}
INCLUDE = re.compile(r'^\s*#\s*include\s+"(?:\.\./)*([^"/]+)/[^"]*"', re.M)
ANY_INCLUDE = re.compile(r'^\s*#\s*include\s+["<]([^">]+)[">]', re.M)
UNWANTED = re.compile(r"\b(TODO|FIXME|XXX|longjmp|siglongjmp)\b")


def sources():
    for top in ("src", "tools", "vmm", "include", "spec"):
        for directory, _, files in sorted(os.walk(os.path.join(ROOT, top))):
            for file in sorted(files):
                if file.endswith((".c", ".h", ".def", ".S")):
                    yield os.path.relpath(os.path.join(directory, file), ROOT)


def wrong_vmm_include(folder, file):
    """Why a file of vmm/FOLDER may not include this, or None."""
    if "/" not in file:
        made = os.path.join("vmm", folder, file.replace(".h", ".asl"))  # at build time
        known = file in VMM_STANDARD or any(os.path.exists(os.path.join(ROOT, path)) for path in (os.path.join("spec", file), made))
        return None if known else f"includes {file}, which is neither in spec/ nor free-standing"
    other = file.split("/")[0]
    if other not in VMM_ORDER:
        return f"includes {file}, which is not the VMM's"
    if VMM_ORDER[other] > VMM_ORDER[folder] and (folder, other) not in VMM_UP:
        return f"includes {other}/, which is not below {folder}/"
    return None


def wrong_includes(path, text):
    parts = path.split(os.sep)
    # A unit test, and what it takes the place of, run on this machine.
    if parts[0] == "vmm":
        hosted = re.search(r"(_test|^fake_\w+)\.[ch]$", parts[-1])
        if not hosted and parts[1] not in VMM_ORDER:
            return [f"folder {parts[1]} is not in the VMM's include table"]
        return [] if hosted else list(filter(None, (wrong_vmm_include(parts[1], file) for file in ANY_INCLUDE.findall(text))))
    folder = parts[1] if parts[0] == "src" else parts[0]
    if folder not in ORDER:
        return [f"folder {folder} is not in the include table"] if parts[0] == "src" else []
    # A unit test may build a small machine around its part.
    if path.endswith("_test.c"):
        return []
    return [f"includes {other}/, which is not below {folder}/" for other in INCLUDE.findall(text)
            if other in ORDER and other != folder and (ORDER[other] > ORDER[folder] or (folder, other) in NEVER)]


def wrong_words(_, text):
    return [f"line {text.count(chr(10), 0, match.start()) + 1}: {match[1]}" for match in UNWANTED.finditer(text)]


def wrong_beginning(_, text):
    return [] if text.lstrip().startswith("/*") else ["does not begin with a comment that says what it is"]


def wrong_folders(text):
    """docs/architecture.md has one line for each folder."""
    folders = {os.path.dirname(path) for path in sources()} | {"tests", "fuzz", "bench", "scripts"}
    listed = re.findall(r"^\| `([\w/]+)` \|", text, re.M)
    return [f"{folder} has {listed.count(folder)} lines" for folder in sorted(folders - {"include"}) if listed.count(folder) != 1]


def main():
    passed = failed = 0
    texts = {}
    for path in sources():
        with open(os.path.join(ROOT, path), encoding="utf-8") as file:
            texts[path] = file.read()
    for name, rule in (("includes", wrong_includes), ("unwanted words", wrong_words), ("beginnings", wrong_beginning)):
        found = [f"{path}: {what}" for path, text in texts.items() for what in rule(path, text)]
        print("\n".join([f"{'FAIL' if found else 'ok'} {name} of {len(texts)} files"] + found))
        failed += bool(found)
        passed += not found
    with open(os.path.join(ROOT, "docs/architecture.md"), encoding="utf-8") as file:
        found = wrong_folders(file.read())
    print("\n".join([f"{'FAIL' if found else 'ok'} folders in docs/architecture.md"] + found))
    failed += bool(found)
    passed += not found
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
