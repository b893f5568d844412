#!/usr/bin/env python3
"""README's table of options is what -help prints.

readme_test.py SOFTVT README           fails when they differ
readme_test.py SOFTVT README --write   renews the table
"""
import re
import subprocess
import sys

BEGIN, END = "<!-- options -->\n", "<!-- end of options -->\n"


def rows(text):
    """(option with its argument, or None for a heading; what it does) of each line of -help."""
    pending = None
    for line in text.splitlines():
        if heading := re.fullmatch(r"(\w[\w ]*):", line):
            yield None, heading[1]
        elif option := re.fullmatch(r"  (-\S+(?: \S+)*?)(?:  +(.*))?", line):
            if option[2] is None:
                pending = option[1]
            else:
                yield option[1], option[2]
        elif pending and line.startswith("   "):
            yield pending, line.strip()
            pending = None


def table(text):
    lines = ["| option | what it does |\n", "|---|---|\n"]
    for option, what in rows(text):
        what = what.replace("|", "\\|").replace("<", "&lt;")
        lines.append(f"| **{what}** | |\n" if option is None else "| `%s` | %s |\n" % (option.replace("|", "\\|"), what))
    return "".join(lines)


def main():
    softvt, readme = sys.argv[1:3]
    shown = table(subprocess.run([softvt, "-help"], check=True, capture_output=True, text=True).stdout)
    with open(readme, encoding="utf-8") as file:
        text = file.read()
    before, rest = text.split(BEGIN)
    written, after = rest.split(END)
    if sys.argv[3:] == ["--write"]:
        with open(readme, "w", encoding="utf-8") as file:
            file.write(before + BEGIN + shown + END + after)
        return
    if shown.count("\n") < 40:
        sys.exit("-help lists too few options to be true")
    if shown != written:
        for mine, theirs in zip(shown.splitlines(), written.splitlines()):
            if mine != theirs:
                sys.exit(f"-help says\n  {mine}\nbut README\n  {theirs}")
        sys.exit("-help and README list different numbers of options")


if __name__ == "__main__":
    main()
