#!/bin/sh
# Builds one flat guest image: build_guest.sh OUTPUT SOURCE.c [FLAG...]
set -e
here=$(dirname "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
out=$1 source=$2
shift 2
cflags="$* -m64 -std=gnu17 -O2 -g0 -ffreestanding -fno-pic -no-pie -fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none
	-mgeneral-regs-only -mno-red-zone -fno-tree-loop-distribute-patterns -Wall -Wextra -Wmissing-prototypes -Wstrict-prototypes -Werror -I$here"
gcc $cflags -c "$here/start.S" -o "$work/start.o"
gcc $cflags -c "$source" -o "$work/main.o"
gcc -m64 -nostdlib -static -no-pie -Wl,-T,"$here/flat.ld",--build-id=none,-z,noexecstack,--no-warn-rwx-segments \
	"$work/start.o" "$work/main.o" -o "$work/image"
objcopy -O binary "$work/image" "$out"
