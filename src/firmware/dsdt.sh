#!/bin/sh
# dsdt.sh SOURCE.asl OUTPUT.h: compiles the DSDT into a C array, dsdt_aml. iasl has no macros, so the C preprocessor goes first.
set -eu
work=$2.d
mkdir -p "$work"
cc -E -P -undef -x c "$1" -o "$work/dsdt.asl"
# -we: warnings are errors; -vr: no remarks on style.
iasl -we -vr -p "$work/dsdt" "$work/dsdt.asl" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
{
	echo '/* The compiled dsdt.asl. */'
	echo 'static const unsigned char dsdt_aml[] = {'
	od -An -v -tx1 "$work/dsdt.aml" | sed 's/ \([0-9a-f][0-9a-f]\)/ 0x\1,/g'
	echo '};'
} >"$2"
