#!/bin/sh
# Builds one guest image: build_image.sh OUTPUT BITS SOURCE.c
# The result is ELF32 whatever BITS is, because that is what Multiboot 1 loaders take.
set -e
out=$1 bits=$2 source=$3
lib=$(dirname "$0")/lib
spec=$(dirname "$0")/../../spec
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cflags="-m$bits -std=gnu17 -O1 -g0 -ffreestanding -fno-inline -fno-pic -no-pie -fno-stack-protector -fno-omit-frame-pointer
	-fno-asynchronous-unwind-tables -fcf-protection=none -mgeneral-regs-only -mno-red-zone -nostdinc
	-isystem $(gcc -print-file-name=include) -I$lib -I$spec -I"$(dirname "$source")"
	-Wall -Wextra -Wmissing-prototypes -Wstrict-prototypes -Wvla -Wshadow=local -Wno-override-init
	-Wno-missing-field-initializers -Werror -fmax-errors=5 -ftrack-macro-expansion=0"
gcc $cflags -c "$lib/boot.S" -o "$work/boot.o"
gcc $cflags -c "$lib/runtime.c" -o "$work/runtime.o"
gcc $cflags -c "$source" -o "$work/chapter.o"
case $(basename "$source") in
vmx_host32.c) ;; # has no use for the library
vmx_*) gcc $cflags -c "$lib/vmx.c" -o "$work/vmx.o" ;;
esac
gcc -m"$bits" -nostdlib -static -no-pie -Wl,-T,"$lib/guest.ld",--build-id=none,-z,noexecstack,--no-warn-rwx-segments,-z,max-page-size=4096 \
	"$work"/*.o -o "$work/image"
objcopy -O elf32-i386 "$work/image" "$out"
