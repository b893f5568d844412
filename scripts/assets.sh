#!/bin/sh
# Fetches and makes what the guests boot, under build/assets (or $ASSETS):
#
#   scripts/assets.sh [amd64] [modules] [kvm] [nested] [xen] [i386] [iso] [vmm_iso]      without arguments: amd64
#
#   amd64     amd64/vmlinuz    Debian's kernel, unmodified
#             amd64/initrd     busybox and scripts/guest/init, not compressed: unpacking would be most of a short boot
#   modules   amd64/initrd-modules   the same with the kernel modules named below; the guest loads them with modprobe
#   kvm       amd64/initrd-kvm  the same with KVM's modules and $BUILD/tests/kvm/kvm_guest, which drives them
#   nested    amd64/initrd-nested  the same with KVM's modules, this machine's QEMU and its libraries, and in /boot the
#             kernel and initrd, for a guest of the guest
#   xen       amd64/xen         Debian's Xen, unpacked
#             amd64/initrd-xen  the initrd with Xen's modules, daemons and xl, for dom0; xen_up starts them
#   i386      i386/vmlinuz, i386/initrd   Debian's 32-bit PAE kernel and userland
#   iso       debian.iso       GRUB, the amd64 kernel and initrd, for firmware to boot; all on the serial console
#   vmm_iso   $BUILD/vmm.iso   GRUB, the VMM and two Debians for it, by either version of Multiboot
#
# Packages are downloaded by apt into a private cache and unpacked; nothing is installed, root is not needed, and the
# machine's own list of architectures stays as it is. What is already there is kept: remove the directory to renew it.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
assets=${ASSETS:-$here/../build/assets}
mkdir -p "$assets"
assets=$(cd "$assets" && pwd)

# Beside these: everything that modules.dep says they need. ext4 asks for crc32c by name, which modules.dep does not say.
modules="virtio_pci virtio_blk virtio_net virtio_console ahci sd_mod sr_mod isofs ext4 crc32c_generic
	e1000 igb igbvf kvm_intel vfio_pci"
xen_modules="xen_privcmd xenfs xen_evtchn xen_gntdev xen_gntalloc"
# Xen's tools and what they link to; for HVM guests the device model, what it links to, and the files that it loads.
xen_packages="xen-hypervisor-4.17-amd64 xen-utils-4.17 libxenmisc4.17 libxencall1 libxenevtchn1 libxenforeignmemory1
	libxengnttab1 libxenstore4 libxentoollog1 libxentoolcore1 libxendevicemodel1 libxenhypfs1 libyajl2 libuuid1 liblzma5
	libzstd1 zlib1g libgcc-s1 libc6
	qemu-system-xen qemu-system-data seabios libfdt1 libpixman-1-0 libspice-server1 libjpeg62-turbo libusb-1.0-0
	libglib2.0-0 libssl3 libopus0 libgstreamer1.0-0 libgstreamer-plugins-base1.0-0 liborc-0.4-0 liblz4-1 libsasl2-2
	libstdc++6 libudev1 libpcre2-8-0 libunwind8 libdw1 libelf1 libffi8 libbz2-1.0"
build=${BUILD:-$here/../build}
kvm_guest=$build/tests/kvm/kvm_guest

say() { printf 'assets: %s\n' "$*"; }
die() { printf 'assets: %s\n' "$*" >&2; exit 1; }

# apt with lists, cache and state of our own, for one architecture at a time and without translations. An index that
# cannot be had (a mirror amid its update) matters only if the package is not in the others: fetch_guest says so then.
apt_use() {
	apt_dir=$assets/apt/$1
	export APT_CONFIG="$apt_dir/apt.conf"
	[ ! -e "$apt_dir/ready" ] || return 0
	mkdir -p "$apt_dir/lists/partial" "$apt_dir/cache/archives/partial"
	: >"$apt_dir/status"
	cat >"$APT_CONFIG" <<-END
		APT::Architecture "$1";
		APT::Architectures { "$1"; };
		APT::Sandbox::User "";
		Acquire::Languages "none";
		Dir::State "$apt_dir";
		Dir::State::lists "$apt_dir/lists";
		Dir::State::status "$apt_dir/status";
		Dir::Cache "$apt_dir/cache";
	END
	say "reading Debian's package index ($1)"
	if apt-get -q update >"$apt_dir/log" 2>&1; then
		touch "$apt_dir/ready"
	else
		say "not all of it could be read: $(grep '^E:' "$apt_dir/log" | head -n 1)"
	fi
}

# Prints the name of the package that a metapackage such as linux-image-amd64 stands for today.
versioned() {
	apt-cache depends --important "$1" | sed -n 's/^ *Depends: *\(linux-image-[^ ]*\).*/\1/p' | head -n 1
}

# fetch PACKAGE ARCHITECTURE DIRECTORY: unpacks a package there.
fetch() {
	say "downloading $1 ($2)"
	rm -rf "$apt_dir/deb" "$3"
	mkdir -p "$apt_dir/deb" "$3"
	(cd "$apt_dir/deb" && apt-get -q download "$1") >"$apt_dir/log" 2>&1 ||
		die "cannot download $1 for $2: $(tail -n 1 "$apt_dir/log")"
	dpkg-deb -x "$apt_dir"/deb/*.deb "$3"
	rm -rf "$apt_dir/deb"
}

# fetch_guest ARCHITECTURE KERNEL-METAPACKAGE: leaves ARCHITECTURE/{kernel,busybox}, unpacked, and ARCHITECTURE/vmlinuz.
fetch_guest() {
	[ ! -e "$assets/$1/vmlinuz" ] || return 0
	apt_use "$1"
	kernel=$(versioned "$2")
	[ -n "$kernel" ] || die "apt knows no kernel package behind $2 for $1; is 'main' of Debian among the apt sources?"
	fetch busybox-static "$1" "$assets/$1/busybox"
	fetch "$kernel" "$1" "$assets/$1/kernel"
	cp "$assets/$1"/kernel/boot/vmlinuz-* "$assets/$1/vmlinuz.new"
	mv "$assets/$1/vmlinuz.new" "$assets/$1/vmlinuz"
}

# root_tree ARCHITECTURE: fills ARCHITECTURE/root with busybox, a link for each of its commands, and init.
root_tree() {
	root=$assets/$1/root
	rm -rf "$root"
	mkdir -p "$root/bin" "$root/dev" "$root/proc" "$root/sys" "$root/tmp" "$root/root" "$root/mnt" "$root/etc"
	ln -s bin "$root/sbin"
	cp "$assets/$1/busybox/bin/busybox" "$root/bin/busybox"
	for command in $("$assets/amd64/busybox/bin/busybox" --list); do
		[ "$command" = busybox ] || ln -s busybox "$root/bin/$command"
	done
	cp "$here/guest/init" "$root/init"
	chmod 755 "$root/init"
}

# pack ARCHITECTURE FILE: the root tree as an initramfs. Names in order, owner 0 and a fixed time: the same every time.
pack() {
	find "$assets/$1/root" -exec touch -h -d @0 {} +
	(cd "$assets/$1/root" && find . | LC_ALL=C sort | cpio --quiet --reproducible -R 0:0 -o -H newc) >"$2.new"
	mv "$2.new" "$2"
}

initrd() {
	[ ! "$assets/$1/initrd" -nt "$here/guest/init" ] || return 0
	say "packing $1/initrd"
	root_tree "$1"
	pack "$1" "$assets/$1/initrd"
}

amd64() {
	fetch_guest amd64 linux-image-amd64
	initrd amd64
}

# add_modules NAME...: puts these modules of the amd64 kernel and what they depend on into amd64/root.
add_modules() {
	busybox=$assets/amd64/busybox/bin/busybox
	version=$(ls "$assets/amd64/kernel/lib/modules")
	tree=$assets/amd64/kernel/lib/modules/$version
	[ -e "$tree/modules.dep" ] || "$busybox" depmod -b "$assets/amd64/kernel" "$version"
	target=$root/lib/modules/$version
	mkdir -p "$target"
	for module; do
		line=$(grep "/$(echo "$module" | sed 's/_/[-_]/g')\.ko:" "$tree/modules.dep") ||
			{ say "the kernel has no module $module: it is built in or gone"; continue; }
		for file in $(echo "$line" | tr -d :); do
			mkdir -p "$target/$(dirname "$file")"
			cp "$tree/$file" "$target/$file"
		done
	done
	for list in modules.order modules.builtin modules.builtin.modinfo; do
		cp "$tree/$list" "$target/$list"
	done
	"$busybox" depmod -b "$root" "$version"
}

modules() {
	amd64
	[ ! "$assets/amd64/initrd-modules" -nt "$assets/amd64/initrd" ] ||
		[ ! "$assets/amd64/initrd-modules" -nt "$here/assets.sh" ] || return 0
	say "packing amd64/initrd-modules"
	root_tree amd64
	add_modules $modules
	pack amd64 "$assets/amd64/initrd-modules"
}

kvm() {
	amd64
	[ ! "$assets/amd64/initrd-kvm" -nt "$kvm_guest" ] ||
		[ ! "$assets/amd64/initrd-kvm" -nt "$here/assets.sh" ] || return 0
	[ -e "$kvm_guest" ] || die "$kvm_guest is not built"
	say "packing amd64/initrd-kvm"
	root_tree amd64
	add_modules kvm_intel
	cp "$kvm_guest" "$root/bin/kvm_guest"
	pack amd64 "$assets/amd64/initrd-kvm"
}

# add_program FILE...: this machine's program, with its libraries where its loader looks for them.
add_program() {
	for program; do
		for file in "$program" $(ldd "$program" | grep -o '/[^ ]*'); do
			mkdir -p "$root/$(dirname "$file")"
			cp -L "$file" "$root/$file"
		done
	done
}

nested() {
	amd64
	[ ! "$assets/amd64/initrd-nested" -nt "$assets/amd64/initrd" ] ||
		[ ! "$assets/amd64/initrd-nested" -nt "$here/assets.sh" ] || return 0
	qemu=$(command -v qemu-system-x86_64) || die "qemu-system-x86_64 is missing (scripts/deps.sh test installs it)"
	say "packing amd64/initrd-nested"
	root_tree amd64
	add_modules kvm_intel
	add_program "$qemu"
	mkdir -p "$root/usr/share/qemu" "$root/boot"
	cp /usr/share/seabios/bios-256k.bin /usr/share/qemu/linuxboot_dma.bin /usr/share/qemu/multiboot_dma.bin \
		/usr/share/qemu/kvmvapic.bin "$root/usr/share/qemu"
	cp "$assets/amd64/vmlinuz" "$assets/amd64/initrd" "$root/boot"
	pack amd64 "$assets/amd64/initrd-nested"
}

# add_packaged FILE...: programs of amd64/packages, at their places, and the libraries that the packages' loader finds for them.
add_packaged() {
	packages=$assets/amd64/packages
	loader=$packages/libc6/lib64/ld-linux-x86-64.so.2
	path=$(printf '%s:' "$packages"/*/lib/x86_64-linux-gnu "$packages"/*/usr/lib/x86_64-linux-gnu)
	mkdir -p "$root/lib/x86_64-linux-gnu" "$root/lib64"
	cp -L "$loader" "$root/lib64"
	for program; do
		mkdir -p "$root/$(dirname "$program")"
		cp "$packages"/*/"$program" "$root/$program"
		for file in $("$loader" --inhibit-cache --library-path "$path" --list "$root/$program" |
				sed -n 's/.*=> \(.*\) (.*/\1/p; s/ => not found//p'); do
			case $file in
			"$packages"/*) cp -L "$file" "$root/lib/x86_64-linux-gnu" ;;
			*) die "no package has ${file##*/}, which $program needs" ;;
			esac
		done
	done
}

xen() {
	amd64
	[ ! "$assets/amd64/initrd-xen" -nt "$assets/amd64/initrd" ] ||
		[ ! "$assets/amd64/initrd-xen" -nt "$here/assets.sh" ] ||
		[ "$(find "$here"/guest/xen* -newer "$assets/amd64/initrd-xen")" ] || return 0
	apt_use amd64
	mkdir -p "$assets/amd64/packages"
	for package in $xen_packages; do
		[ -e "$assets/amd64/packages/$package" ] || fetch "$package" amd64 "$assets/amd64/packages/$package"
	done
	say "packing amd64/initrd-xen"
	root_tree amd64
	add_modules $xen_modules
	for tool in xl xenstored xenconsoled xenconsole xen-init-dom0 libxl-save-helper; do
		add_packaged "usr/lib/xen-4.17/bin/$tool"
		ln -s "../usr/lib/xen-4.17/bin/$tool" "$root/bin/$tool"
	done
	add_packaged usr/libexec/xen-qemu-system-i386
	# The C library opens it by name where a thread ends, so no program's list has it.
	cp "$assets/amd64/packages/libgcc-s1/lib/x86_64-linux-gnu/libgcc_s.so.1" "$root/lib/x86_64-linux-gnu"
	for file in xen-utils-4.17/usr/lib/xen-4.17/boot/hvmloader seabios/usr/share/seabios/bios-256k.bin \
			qemu-system-data/usr/share/qemu/linuxboot.bin qemu-system-data/usr/share/qemu/keymaps/en-us; do
		mkdir -p "$root/$(dirname "${file#*/}")"
		cp "$assets/amd64/packages/$file" "$root/${file#*/}"
	done
	cp "$here/guest/xen_up" "$root/bin"
	chmod 755 "$root/bin/xen_up"
	mkdir -p "$root/etc/xen" "$root/boot"
	: >"$root/etc/xen/xl.conf"
	cp "$here/guest/xen_pvh.cfg" "$root/etc/xen/pvh.cfg"
	cp "$here/guest/xen_hvm.cfg" "$root/etc/xen/hvm.cfg"
	cp "$assets/amd64/vmlinuz" "$assets/amd64/initrd" "$root/boot"
	gunzip -c "$assets"/amd64/packages/xen-hypervisor-*/boot/xen-*.gz >"$assets/amd64/xen"
	pack amd64 "$assets/amd64/initrd-xen"
}

i386() {
	amd64
	fetch_guest i386 linux-image-686-pae
	initrd i386
}

# make_iso FILE: a CD with GRUB and the amd64 kernel and initrd; its menu comes on standard input, other files are arguments.
make_iso() {
	command -v grub-mkrescue >/dev/null || die "grub-mkrescue is missing (scripts/deps.sh test installs it)"
	image=$1
	shift
	say "making $(basename "$image")"
	rm -rf "$assets/iso"
	mkdir -p "$assets/iso/boot/grub"
	cp "$assets/amd64/vmlinuz" "$assets/amd64/initrd" "$@" "$assets/iso/boot"
	{ echo "serial --unit=0"; echo "terminal_output console serial"; cat; } >"$assets/iso/boot/grub/grub.cfg"
	grub-mkrescue -d /usr/lib/grub/i386-pc -o "$image.new" "$assets/iso" >"$assets/iso.log" 2>&1 ||
		die "grub-mkrescue failed: $(tail -n 1 "$assets/iso.log")"
	rm -rf "$assets/iso"
	mv "$image.new" "$image"
}

iso() {
	amd64
	[ ! "$assets/debian.iso" -nt "$assets/amd64/initrd" ] || return 0
	make_iso "$assets/debian.iso" <<-END
		set timeout=0
		menuentry "Debian" {
			linux /boot/vmlinuz console=ttyS0
			initrd /boot/initrd
			echo "GRUB starts Linux"
		}
	END
}

# In GRUB's menu an argument with blanks and quotes stands in single quotes, and a module's command line does not have its file name.
vmm_iso() {
	amd64
	vmm=$build/vmm/vmm.elf
	[ -e "$vmm" ] || die "$vmm is not built"
	[ ! "$build/vmm.iso" -nt "$vmm" ] || [ ! "$build/vmm.iso" -nt "$assets/amd64/initrd" ] || [ ! "$build/vmm.iso" -nt "$here/assets.sh" ] || return 0
	guest='mem=256M,kernel=vmlinuz,initrd=initrd,append="console=ttyS0"'
	make_iso "$build/vmm.iso" "$vmm" <<-END
		terminal_input console serial
		set timeout=3
		menuentry "Two Debians" {
			multiboot2 /boot/vmm.elf 'vm=one,$guest' 'vm=two,$guest'
			module2 /boot/vmlinuz vmlinuz
			module2 /boot/initrd initrd
		}
		menuentry "Two Debians, by Multiboot 1" {
			multiboot /boot/vmm.elf 'vm=one,$guest' 'vm=two,$guest'
			module /boot/vmlinuz vmlinuz
			module /boot/initrd initrd
		}
		menuentry "Capability report and demonstrations" {
			multiboot2 /boot/vmm.elf report demo=all
		}
	END
}

for arg in "${@:-amd64}"; do
	case $arg in
	amd64 | modules | kvm | nested | xen | i386 | iso | vmm_iso) $arg ;;
	*) die "unknown asset '$arg'; there are: amd64 modules kvm nested xen i386 iso vmm_iso" ;;
	esac
done
