#!/bin/sh
# Runs every fuzzer for some seconds each: scripts/fuzz.sh [SECONDS [NAME...]]
#
# A fuzzer is a libFuzzer program fuzz_NAME that fuzz/meson.build makes when the compiler is clang; its corpus is kept, small, in
# fuzz/corpus/NAME. New inputs go to build-fuzz/corpus/NAME, and what crashed or hung to build-fuzz/crash-NAME-*.
set -eu
cd "$(dirname "$0")/.."

seconds=${1:-60}
[ $# -eq 0 ] || shift
build=build-fuzz

[ -e fuzz/meson.build ] || { echo "fuzz: there is no fuzzer (fuzz/meson.build)" >&2; exit 1; }
if [ ! -e $build/build.ninja ]; then
	echo "fuzz: configuring $build (clang, address and undefined-behaviour sanitizers)"
	mkdir -p $build
	CC=clang meson setup -Db_sanitize=address,undefined -Db_lundef=false \
		-Dc_args=-fsanitize-coverage=inline-8bit-counters,pc-table $build >$build/setup.log 2>&1 ||
		{ cat $build/setup.log; exit 1; }
fi
echo "fuzz: compiling"
programs=$(ninja -C $build -t targets all | sed -n 's/^\(fuzz\/fuzz_[a-z0-9_]*\): .*/\1/p')
ninja -C $build --quiet -j "${JOBS:-$(nproc)}" $programs

passed=0 failed=0
for program in $programs; do
	name=${program##*/fuzz_}
	program=$build/$program
	[ $# -eq 0 ] || case " $* " in *" $name "*) ;; *) continue ;; esac
	mkdir -p $build/corpus/"$name"
	corpus=fuzz/corpus/$name
	[ -d "$corpus" ] || corpus=
	echo "fuzz: $name for $seconds s"
	if UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 "$program" -max_total_time="$seconds" -timeout=20 -entropic=0 -print_final_stats=1 \
		-artifact_prefix="$build/crash-$name-" $build/corpus/"$name" $corpus >$build/"$name".log 2>&1; then
		passed=$((passed + 1))
		echo "ok $name: $(sed -n 's/^stat::number_of_executed_units: *//p' $build/"$name".log) inputs"
	else
		failed=$((failed + 1))
		echo "FAIL $name: $(grep -m 1 -E 'ERROR|runtime error|SUMMARY' $build/"$name".log) (see $build/$name.log)"
	fi
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
