#!/usr/bin/env python3
"""Runs the guest images under SoftVT, QEMU TCG or Bochs, and compares what they say.

run.py --engine softvt|qemu|bochs IMAGE...            run, show the report, exit 1 if an image failed or did not end
run.py --compare qemu,bochs --softvt PATH IMAGE...    run under SoftVT and the peers, compare line by line

Every line of a report is "PASS chapter/name: observation", "FAIL ... (manual: expected)" or "ABSENT chapter/name"; the last is
"N passed, M failed". ABSENT lines and lines that another engine calls absent are no difference: CPU models differ.
known_differences.txt lists the lines in which an engine is known to be wrong, or free to choose.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
END = re.compile(r"^(\d+) passed, (\d+) failed$", re.M)
LINE = re.compile(r"^(PASS|FAIL|ABSENT) ([^:\s]+)(?:: (.*?))?(?: \(manual: .*\))?$")
PASS_STATUS = 33  # isa-debug-exit: (0x10 << 1) | 1

BOCHSRC = """\
display_library: term
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/seabios/vgabios-stdvga.bin
sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
megs: 256
boot: cdrom
ata0-master: type=cdrom, path={iso}, status=inserted
clock: sync=none, time0=utc
cpu: model={cpu}, count={smp}, ips=50000000, reset_on_triple_fault=0, ignore_bad_msrs=0
com1: enabled=1, mode=file, dev={serial}
log: {log}
panic: action=fatal
error: action=ignore
info: action=ignore
"""


def qemu_like(command, smp, image, timeout):
    """SoftVT and QEMU: same options, the report on stdout, the verdict in the exit status."""
    command = command + ["-kernel", image, "-serial", "stdio", "-display", "none",
                         "-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-no-reboot", "-m", "256", "-smp", str(smp)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout)
    except subprocess.TimeoutExpired as late:
        return (late.stdout or b"").decode(errors="replace") + "\n(no end within %d s)\n" % timeout, False
    text = done.stdout.decode(errors="replace").replace("\r", "")
    if done.stderr:
        text += "".join("(stderr) %s\n" % line for line in done.stderr.decode(errors="replace").splitlines())
    if done.returncode not in (PASS_STATUS, 35):
        text += "(exit status %d)\n" % done.returncode
    return text, done.returncode == PASS_STATUS


def bochs(files, grub, smp, cpu, timeout, end):
    """Bochs boots a GRUB ISO of the files {path: name on it} with this grub.cfg; the run is over when the serial port has said the
    pattern `end`. Returns what it said, and what is wrong, if something is."""
    with tempfile.TemporaryDirectory() as work:
        path = lambda name: os.path.join(work, name)
        os.makedirs(path("iso/boot/grub"))
        for source, name in files.items():
            shutil.copy(source, path("iso/boot/" + name))
        with open(path("iso/boot/grub/grub.cfg"), "w") as f:
            f.write(grub)
        subprocess.run(["grub-mkrescue", "-d", "/usr/lib/grub/i386-pc", "-o", path("boot.iso"), path("iso")],
                        check=True, capture_output=True)
        open(path("serial"), "w").close()
        with open(path("bochsrc"), "w") as f:
            f.write(BOCHSRC.format(iso=path("boot.iso"), serial=path("serial"), log=path("log"), smp=smp, cpu=cpu))
        with open(path("go"), "w") as f:
            f.write("c\n")
        command = "stty rows 60 cols 132; exec bochs -q -f %s -rc %s" % (path("bochsrc"), path("go"))
        process = subprocess.Popen(["script", "-qfec", command, "/dev/null"], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                                   env=dict(os.environ, TERM="xterm"))
        limit = time.monotonic() + timeout
        text = ""
        while time.monotonic() < limit and process.poll() is None and not end.search(text):
            time.sleep(0.2)
            with open(path("serial"), errors="replace") as f:
                text = f.read().replace("\r", "")
        if process.poll() is None and end.search(text):
            try:
                process.wait(3)
            except subprocess.TimeoutExpired:
                pass
        with open(path("serial"), errors="replace") as f:
            text = f.read().replace("\r", "")
        if process.poll() is None:
            os.killpg(process.pid, 9)
            process.wait()
        if end.search(text):
            return text, ""
        with open(path("log"), errors="replace") as f:
            said = [line for line in f if re.match(r"\d+[pe]\[", line)]
        return text, "(Bochs did not reach the end)\n" + "".join(said[-5:])


def run_bochs(image, smp, cpu, timeout):
    """The run is over when the report's last line is there."""
    text, wrong = bochs({image: "image"}, "multiboot /boot/image\nboot\n", smp, cpu, timeout, END)
    end = END.search(text)
    return text + ("\n" + wrong if wrong else ""), bool(end) and end.group(2) == "0"


def run(engine, image, options):
    if engine == "softvt":
        command = [options.softvt] + (["-cpu", options.cpu] if options.cpu else [])
        return qemu_like(command, processors(image, options), image, options.timeout)
    cached = options.cache and os.path.join(options.cache, "%s.%s.txt" % (name_of(image), engine))
    if cached and os.path.exists(cached) and os.path.getmtime(cached) >= os.path.getmtime(image):
        with open(cached) as f:
            text = f.read()
        end = END.search(text)
        return text, bool(end) and end.group(2) == "0"
    if engine == "qemu":
        command = ["qemu-system-x86_64", "-accel", "tcg", "-M", "q35", "-cpu", options.cpu or "max,vendor=GenuineIntel", "-nodefaults"]
        text, good = qemu_like(command, processors(image, options), image, options.timeout)
        text = "".join(line + "\n" for line in text.splitlines() if not line.startswith("(stderr)"))
    else:
        text, good = run_bochs(image, processors(image, options), options.bochs_cpu, options.timeout)
    if cached:
        os.makedirs(options.cache, exist_ok=True)
        with open(cached, "w") as f:
            f.write(text)
    return text, good


def processors(image, options):
    """How many vCPUs: --smp, or the third column of the image's row in chapters.txt."""
    if options.smp:
        return options.smp
    with open(os.path.join(HERE, "chapters.txt")) as f:
        for fields in map(str.split, f):
            if len(fields) > 2 and fields[0] == name_of(image):
                return int(fields[2])
    return 1


def name_of(image):
    return os.path.splitext(os.path.basename(image))[0]


def lines_of(text):
    """{name: (verdict, observation)} of a report."""
    found = {}
    for line in text.splitlines():
        m = LINE.match(line)
        if m:
            found[m.group(2)] = (m.group(1), m.group(3) or "")
    return found


def known_differences():
    """Rows of image (with its 64-bit twin), pattern of line names, engine that is wrong; after '#' the reason."""
    rows = []
    with open(os.path.join(HERE, "known_differences.txt")) as f:
        for line in f:
            fields = line.split("#")[0].split()
            if fields:
                rows.append((fields[0], re.compile(fields[1]), fields[2]))
    return rows


def excused(rows, chapter, name, engine):
    short = name.split("/", 1)[1]
    return any(row[0] in (chapter, chapter.removesuffix("64")) and row[2] in (engine, "any") and row[1].fullmatch(short) for row in rows)


def given_up(rows, image, engine):
    """Is this engine known not to get through the image at all?"""
    return any(row[0] == name_of(image) and row[2] == engine and row[1].pattern == ".*" for row in rows)


def under(name, absent):
    """Is this line, or a group that it belongs to, called absent?"""
    return any(name == a or name.startswith(a.removesuffix("/") + "/") or name.startswith(a + "-") for a in absent)


def compare(image, peers, options, rows):
    chapter = name_of(image)
    text, good = run("softvt", image, options)
    if options.reports:
        os.makedirs(options.reports, exist_ok=True)
        with open(os.path.join(options.reports, chapter + ".txt"), "w") as f:
            f.write(text)
    ours = lines_of(text)
    bad = []
    if not END.search(text):
        bad.append("softvt: no last line\n" + text)
    bad += ["softvt: %s: %s" % (name, seen) for name, (verdict, seen) in ours.items()
            if verdict == "FAIL" and not excused(rows, chapter, name, "softvt")]
    for peer in peers:
        if given_up(rows, image, peer):
            continue
        theirs = lines_of(run(peer, image, options)[0])
        if not theirs:
            bad.append("%s: no report" % peer)
        absent = {name for side in (ours, theirs) for name, (verdict, _) in side.items() if verdict == "ABSENT"}
        for name in sorted(set(ours) | set(theirs)):
            if under(name, absent) or excused(rows, chapter, name, peer):
                continue
            mine, other = (side.get(name, ("FAIL", "no such line")) for side in (ours, theirs))
            if mine != other and (mine[0], other[0]) != ("PASS", "PASS"):  # two PASS: the manual leaves the choice
                bad.append("%s: softvt says '%s', %s says '%s'" % (name, mine[1], peer, other[1]))
    for line in bad:
        print(line)
    print("%-16s %3d lines, %s" % (chapter, len(ours), "%d differences" % len(bad) if bad else "same"))
    return not bad


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="+", metavar="IMAGE")
    parser.add_argument("--engine", choices=("softvt", "qemu", "bochs"))
    parser.add_argument("--compare", metavar="PEERS", help="comma-separated: qemu, bochs")
    parser.add_argument("--softvt", default="build/softvt", metavar="PATH")
    parser.add_argument("--cpu", help="CPU model for SoftVT and QEMU")
    parser.add_argument("--bochs-cpu", default="tigerlake")
    parser.add_argument("--smp", type=int, help="vCPUs; by default what chapters.txt says")
    parser.add_argument("--timeout", type=int, default=120, help="seconds per image and engine")
    parser.add_argument("--cache", metavar="DIR", help="keep the peers' reports here and use them while newer than the image")
    parser.add_argument("--reports", metavar="DIR", help="with --compare: write SoftVT's reports there")
    parser.add_argument("--quiet", action="store_true", help="with --engine: show only what is not PASS")
    options = parser.parse_args()
    good = True
    if options.compare:
        rows = known_differences()
        for image in options.images:
            good &= compare(image, options.compare.split(","), options, rows)
    elif options.engine:
        rows = known_differences()
        for image in options.images:
            text, _ = run(options.engine, image, options)
            chapter = name_of(image)
            failed = [name for name, (verdict, _) in lines_of(text).items()
                      if verdict == "FAIL" and not excused(rows, chapter, name, options.engine)]
            shown = text.splitlines()
            if options.quiet:
                shown = [line for line in shown if not line.startswith("PASS") and line]
            print("\n".join("%s" % line for line in shown), flush=True)
            good &= given_up(rows, image, options.engine) or (bool(END.search(text)) and not failed)
    else:
        parser.error("one of --engine and --compare is needed")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
