# A thin front for Meson and the scripts, so that each thing a person does here is one word. `make help` lists them.
#
# Options: SANITIZE=1 (address and undefined-behaviour sanitizers, in a build directory of their own), BUILD=dir,
# JOBS=n, WERROR=1, SUITES=unit,guest (of `make test`), RUN="more options" (of `make run`), FUZZ_SECONDS=n (of `make fuzz`).

SANITIZE ?= 0
ifeq ($(SANITIZE),0)
BUILD ?= build
SUITES ?=
# Warnings are errors where nobody would read them. Not under the sanitizers: GCC then warns of what is not there.
SETUP := $(if $(CI)$(WERROR),--werror)
else
BUILD ?= build-sanitize
SUITES ?= unit,guest
SETUP := -Db_sanitize=address,undefined -Db_lundef=false
endif
JOBS ?= $(shell nproc)
FUZZ_SECONDS ?= 60
RUN ?=
MEMORY ?= 1G

ASSETS := $(CURDIR)/build/assets
export ASSETS
export BUILD
NINJA = ninja -C $(BUILD) -j $(JOBS) $(if $(CI),--quiet)

.PHONY: all program everything run run-kvm vmm vmm-iso test test-nested bench fuzz assets clean distclean help

all: check-deps program

help:
	@echo 'make              builds build/softvt'
	@echo 'make run          boots our VMM on two CPUs: its demonstrations, then two Debian guests (installs and fetches first)'
	@echo '                  RUN="-cpu Haswell" adds options; MEMORY=1G is its RAM'
	@echo 'make run-kvm      boots Debian'\''s kernel, starts a guest of KVM in it, and gives a shell'
	@echo 'make vmm          builds the VMM, build/vmm/vmm.elf, for Multiboot 1 and 2'
	@echo 'make vmm-iso      makes build/vmm.iso of it, with GRUB and two Debian guests, for any PC with VT-x'
	@echo 'make test         runs every test and ends with a count; SANITIZE=1 runs it under the sanitizers,'
	@echo '                  SUITES=layout,unit,cli,engines,guest,snapshot,boot,kvm,xen,vmm chooses'
	@echo 'make test-nested  QEMU with KVM, inside, boots Debian as a guest of the guest (make test has it too)'
	@echo 'make bench        compares with Bochs, QEMU TCG and native code, and renews docs/performance.md'
	@echo 'make fuzz         runs each fuzzer for FUZZ_SECONDS=60 seconds'
	@echo 'make assets       fetches the kernels and makes the initramfs images and the ISO that tests boot'
	@echo 'make clean        removes what was compiled; make distclean also removes what was fetched'

.PHONY: check-deps deps-run deps-test deps-fuzz
check-deps:
	@scripts/deps.sh --check build
deps-run:
	@scripts/deps.sh build run
deps-test:
	@scripts/deps.sh build run test
deps-fuzz:
	@scripts/deps.sh build fuzz

$(BUILD)/build.ninja:
	@echo 'build: configuring $(BUILD)'
	@mkdir -p $(BUILD)
	@meson setup $(SETUP) $(BUILD) >$(BUILD)/setup.log 2>&1 || { cat $(BUILD)/setup.log; exit 1; }

program: $(BUILD)/build.ninja
	@echo 'build: compiling $(BUILD)/softvt'
	@$(NINJA) softvt

everything: $(BUILD)/build.ninja
	@echo 'build: compiling the program and its tests in $(BUILD)'
	@$(NINJA)

# A guest of the VMM. RUN_VM(name)
RUN_VM = vm=$(1),mem=256M,kernel=vmlinuz,initrd=initrd,append=\"console=ttyS0 quiet hostname=$(1)\"

run: deps-run
	@$(MAKE) --no-print-directory program
	@$(NINJA) vmm/vmm.elf
	@scripts/assets.sh amd64
	@echo 'run: booting the VMM; Ctrl-] is its prompt (help lists commands), twice switches to the other guest;'
	@echo 'run: "exit" in a shell powers that guest off, the last one the machine; Ctrl-A x quits at once'
	@$(BUILD)/softvt -kernel $(BUILD)/vmm/vmm.elf -initrd $(ASSETS)/amd64/vmlinuz,$(ASSETS)/amd64/initrd \
		-append "demo=all $(call RUN_VM,one) $(call RUN_VM,two)" -smp 2 -m $(MEMORY) -nographic $(RUN)

# What the guest does first; then its shell.
RUN_KVM_FIRST = echo; echo 'run-kvm: loading kvm_intel'; modprobe kvm_intel && echo 'run-kvm: starting a guest of KVM' && kvm_guest -demo; \
	echo; echo 'run-kvm: this is Debian on SoftVT; kvm_guest alone tests KVM'

run-kvm: deps-run
	@$(MAKE) --no-print-directory program
	@$(NINJA) tests/kvm/kvm_guest
	@scripts/assets.sh kvm
	@echo 'run-kvm: booting; "exit" in the shell powers the machine off and counts the VM exits, Ctrl-A x quits at once'
	@$(BUILD)/softvt -kernel $(ASSETS)/amd64/vmlinuz -initrd $(ASSETS)/amd64/initrd-kvm \
		-append "console=ttyS0 first=\"$(RUN_KVM_FIRST)\"" -m $(MEMORY) -nographic -exits $(RUN)

vmm: check-deps $(BUILD)/build.ninja
	@echo 'build: compiling $(BUILD)/vmm/vmm.elf'
	@$(NINJA) vmm/vmm.elf

vmm-iso: deps-test
	@$(MAKE) --no-print-directory vmm
	@scripts/assets.sh vmm_iso
	@echo 'vmm-iso: $(BUILD)/vmm.iso'

assets: deps-test
	@$(MAKE) --no-print-directory everything
	@scripts/assets.sh amd64 modules kvm nested xen i386 iso

test: deps-test
	@$(MAKE) --no-print-directory everything
	@scripts/assets.sh amd64 modules kvm nested xen i386 iso
	@scripts/test.py --build $(BUILD) --jobs $(JOBS) $(if $(SUITES),--suites $(SUITES))

test-nested: deps-test
	@$(MAKE) --no-print-directory everything
	@scripts/assets.sh amd64 modules kvm nested
	@python3 tests/kvm/suite.py --build $(BUILD) qemu

bench: deps-test
	@$(MAKE) --no-print-directory program
	@$(NINJA) bench/bench_native bench/bench_decode bench/bench_guest.elf vmm/vmm.elf tests/vmm/exits.bin
	@scripts/assets.sh amd64 iso
	@bench/run.py --build $(BUILD)

fuzz: deps-fuzz
	@scripts/fuzz.sh $(FUZZ_SECONDS)

clean:
	@if [ -e build/build.ninja ]; then ninja -C build --quiet clean; fi
	@rm -rf build-sanitize build-fuzz
	@echo 'clean: removed what was compiled; build/assets stays'

distclean:
	@rm -rf build build-sanitize build-fuzz
	@echo 'distclean: removed build, build-sanitize and build-fuzz'
