#!/usr/bin/env python3
"""Which rows of spec/ the VMX images have exercised: exit reasons, VM-instruction errors, controls, rules of VM entry.

coverage.py DIRECTORY    of reports of SoftVT that run.py --reports wrote

The images say it in lines "COVERED ..."; of the rules the names of lines in vmx_entry_checks and vmx_host32 are the
ids. A control that the processor's capability MSRs do not allow, and what depends on one, is not offered and does not count.
"""
import glob
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SMM = "dual-monitor treatment"
# Exit reasons that need a control (or what has none) to be offered.
REASON_NEEDS = {
    "TPR_BELOW_THRESHOLD": "PROCBASED_CTLS.USE_TPR_SHADOW", "APIC_ACCESS": "PROCBASED_CTLS2.VIRTUALIZE_APIC_ACCESSES",
    "VIRTUALIZED_EOI": "PROCBASED_CTLS2.VIRTUAL_INTERRUPT_DELIVERY", "APIC_WRITE": "PROCBASED_CTLS2.APIC_REGISTER_VIRTUALIZATION",
    "ENCLS": "PROCBASED_CTLS2.ENABLE_ENCLS_EXITING", "ENCLV": "PROCBASED_CTLS2.ENABLE_ENCLV_EXITING",
    "PCONFIG": "PROCBASED_CTLS2.ENABLE_PCONFIG", "SPP": "PROCBASED_CTLS2.SUBPAGE_WRITE_PERMISSIONS",
    "UMWAIT": "PROCBASED_CTLS2.ENABLE_USER_WAIT_AND_PAUSE", "TPAUSE": "PROCBASED_CTLS2.ENABLE_USER_WAIT_AND_PAUSE",
    "LOADIWKEY": "PROCBASED_CTLS3.LOADIWKEY_EXITING", "ENQCMD": "PROCBASED_CTLS2.PASID_TRANSLATION",
    "ENQCMDS": "PROCBASED_CTLS2.PASID_TRANSLATION", "BUS_LOCK": "PROCBASED_CTLS2.VMM_BUS_LOCK_DETECTION",
    "INSTRUCTION_TIMEOUT": "PROCBASED_CTLS2.INSTRUCTION_TIMEOUT", "RDMSRLIST": "PROCBASED_CTLS3.ENABLE_MSR_LIST_INSTRUCTIONS",
    "WRMSRLIST": "PROCBASED_CTLS3.ENABLE_MSR_LIST_INSTRUCTIONS", "VMFUNC": "PROCBASED_CTLS2.ENABLE_VM_FUNCTIONS",
    "XSAVES": "supervisor state components", "XRSTORS": "supervisor state components", "GETSEC": "CPUID.SMX", "MACHINE_CHECK": "machine-check events", "IO_SMI": SMM, "OTHER_SMI": SMM, "RSM": SMM,
}
ERROR_NEEDS = {n: SMM for n in (16, 17, 18, 19, 20, 22, 23, 24, 25)}
ERROR_NEEDS[6] = "an instruction that yields it"
ERROR_NEEDS[13] = "IA32_VMX_MISC[29] = 0"

# What no image can break: a 32-bit host writes 32 bits of RIP. The unit tests break it.
UNREACHABLE = {"addr.host32.rip"}

# Rules that an SMM-transfer monitor breaks: their lines in vmx_dual_monitor.
RULE_LINES = {
    "smm.exec_ptr.align": "return/pointer-unaligned", "smm.exec_ptr.width": "return/pointer-too-wide",
    "smm.exec_ptr.revision": "return/pointer-revision", "smm.exec_ptr.launched": "return/executive-vmcs-clear",
    "smm.exec_ptr.deactivate": "return/deactivate-to-guest", "smm.inject_mtf": "return/mtf-to-root",
    "smm.activity_root": "return/root-wait-for-sipi", "ctl.entry.smm_both": "return/both-controls",
    "guest.activity.smm_sipi": "smm-guest/wait-for-sipi", "guest.intr.smi_entry": "smm-guest/not-blocked",
    "guest.link.not_executive": "return/link-is-executive",
}


def spec(name):
    with open(os.path.join(ROOT, "spec", name), encoding="utf-8") as file:
        return file.read()


def read_reports(directory):
    """Reasons and errors seen, {word: (on, allowed)}, the rules that an entry was refused for, those that this processor has not."""
    reasons, errors, words, rules, absent = set(), set(), {}, set(), set()
    for path in glob.glob(os.path.join(directory, "vmx_*.txt")):
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                fields = line.split()
                if fields[:2] == ["COVERED", "exits"]:
                    reasons |= set(map(int, fields[2:]))
                elif fields[:2] == ["COVERED", "errors"]:
                    errors |= set(map(int, fields[2:]))
                elif fields[:1] == ["COVERED"]:
                    on, allowed = int(fields[2], 16), int(fields[4], 16)
                    words[fields[1]] = words.get(fields[1], (0, 0))[0] | on, allowed
                elif match := re.match(r"PASS vmx_(?:entry_checks|host32)/([a-z0-9_.]+)", line):
                    rules.add(match[1])
                elif match := re.match(r"PASS vmx_dual_monitor/([^:]+):", line):
                    rules |= {rule for rule, name in RULE_LINES.items() if name == match[1]}
                elif match := re.match(r"ABSENT vmx_(?:entry_checks|host32)/([a-z0-9_.]+)$", line):
                    absent.add(match[1])
    return reasons, errors, words, rules, absent


def rules_of_entry():
    source = '#define CHECK(name, id, section, outcome, text) id\n#include "vmx_checks.def"\n'
    out = subprocess.run(["gcc", "-E", "-P", "-x", "c", "-I", os.path.join(ROOT, "spec"), "-"], input=source, text=True,
                         capture_output=True, check=True).stdout
    # Ids are string literals side by side: "ctl." "io_bitmap_a" ".align".
    ids, part = [], ""
    for text in re.findall(r'"([a-z0-9_.]*)"', out):
        if part and re.match(r"(ctl|host|guest|addr|msr|smm)\.", text):
            ids.append(part)
            part = ""
        part += text
    return ids + [part]


def listing(directory):
    """The lines to print, and how many rows that are offered no image has exercised."""
    reasons, errors, words, rules, absent = read_reports(directory)
    controls = [(word, int(bit), name) for word, bit, name in re.findall(r"^C\((\w+), +(\d+), (\w+),", spec("vmx_controls.def"), re.M)
                if word in words]
    offered = {"%s.%s" % (word, name) for word, bit, name in controls if words[word][1] >> bit & 1}
    lines, missing = [], 0

    def table(title, rows):
        """rows of (name, exercised, offered)"""
        nonlocal missing
        there = [row for row in rows if row[2] or row[1]]
        done = [row for row in there if row[1]]
        missing += len(there) - len(done)
        lines.append("%s: %d of %d exercised" % (title, len(done), len(there)))
        for what, names in (("not exercised", [row[0] for row in there if not row[1]]),
                            ("not offered", [row[0] for row in rows if not row[2] and not row[1]])):
            if names:
                lines.append("    %s: %s" % (what, " ".join(names)))

    if not words:
        return ["VMX: no report says what it has exercised"], 1
    table("VMX exit reasons", [(name, int(n) in reasons, name not in REASON_NEEDS or REASON_NEEDS[name] in offered)
                               for n, name in re.findall(r"^X\( *(\d+), (\w+),", spec("vmx_exit_reasons.def"), re.M)])
    table("VMX instruction errors", [(n, int(n) in errors, int(n) not in ERROR_NEEDS)
                                     for n in re.findall(r"^X\( *(\d+), \w+,", spec("vmx_errors.def"), re.M)])
    table("VMX controls", [("%s.%s" % (word, name), words[word][0] >> bit & 1, "%s.%s" % (word, name) in offered)
                           for word, bit, name in controls])
    table("rules of VM entry", [(rule, rule in rules, rule not in absent and rule not in UNREACHABLE) for rule in rules_of_entry()])
    return lines, missing


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    said, left = listing(sys.argv[1])
    print("\n".join(said))
    sys.exit(1 if left else 0)
