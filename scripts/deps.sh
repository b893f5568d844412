#!/bin/sh
# Installs the Debian 12 packages that building, running and testing SoftVT needs. This is the one list of them.
#
#   scripts/deps.sh [--check] [GROUP...]     groups: build run test fuzz; without one: all but fuzz
#
# Installs nothing and returns at once when everything is there. --check only says what is missing (exit status 1).
# The guest's kernel and busybox are not installed on this machine: scripts/assets.sh fetches and unpacks them.
set -eu

# A C compiler, the build system, and the libraries that the program links.
build="gcc libc6-dev make meson ninja-build pkg-config python3
	libzydis-dev libcmocka-dev zlib1g-dev libpng-dev libzstd-dev acpica-tools"
# What scripts/assets.sh packs with, and the firmware that -bios and disks boot through.
run="cpio seabios"
# The machines that ours is compared with, the tools that make and look at test images.
test="qemu-system-x86 qemu-utils bochs bochsbios bochs-term seabios grub-pc-bin grub-common xorriso mtools nasm gdb
	git"
# libFuzzer is a part of clang's run-time library.
fuzz="clang libclang-rt-14-dev"

say() { printf 'deps: %s\n' "$*"; }
die() { printf 'deps: %s\n' "$*" >&2; exit 1; }

check=no
groups=
for arg; do
	case $arg in
	--check) check=yes ;;
	build | run | test | fuzz) groups="$groups $arg" ;;
	*) die "unknown group '$arg'; the groups are: build run test fuzz" ;;
	esac
done
: "${groups:= build run test}"

command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
	die "this is not a Debian system (no apt-get): install the packages named in scripts/deps.sh by your own means"

wanted=
for group in $groups; do
	eval "wanted=\"\$wanted \$$group\""
done

installed=$(dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' $wanted 2>/dev/null | sed -n 's/^ii *//p' || true)
missing=
for package in $wanted; do
	case "
$installed
$missing
" in
	*"
$package
"*) ;;
	*) missing="$missing
$package" ;;
	esac
done
missing=$(echo $missing)
[ -n "$missing" ] || exit 0

if [ $check = yes ]; then
	die "missing Debian packages: $missing (install them with: scripts/deps.sh$groups)"
fi

as_root=
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null ||
		die "cannot install without root or sudo; as root, run: apt-get install $missing"
	as_root=sudo
fi

apt() {
	$as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 "$@" </dev/null
}
say "installing: $missing"
# A fresh or stale package index is the usual reason for a first failure: then read it again, once.
if ! apt install -y --no-install-recommends $missing; then
	say "reading the package index"
	apt update || die "apt-get update failed: see its messages above"
	apt install -y --no-install-recommends $missing || die "apt-get could not install: $missing (see its messages above)"
fi
say "done"
