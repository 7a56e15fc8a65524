# SPDX-License-Identifier: Apache-2.0
#
#   make            the libraries
#   make run        sees what is missing, builds, and shows it at work
#   make bench      sees what is missing, builds and measures, minutes long
#   make check      sees what is missing, builds and runs every test
#   make check-ports   make check for each CPU of arch/ that this machine can build for
#   make mutants    breaks the CPU's assembly and the C++ core at one place at a time: do
#                   the tests see it, each time? Hours long
#   make mutants-core   the C++ core alone
#   make soak MINUTES=10   threads, signals and children at once, for as long as you like
#   make lint       layering, headers, symbols, man pages
#   make install    into $(DESTDIR)$(PREFIX); make uninstall takes it away again
#   make clean      removes build/
#
# ARCH=x86_64       the CPU: a folder of arch/. Another one than this machine's is
#                   built by a cross compiler, and tested under qemu-user; generic is
#                   this machine's without assembly, and slow
# MODE=release      or debug, asan, ubsan, tsan, valgrind
# LIBC=musl         with musl-gcc: the library, and the tests that are C
# ENTRY=portable    start and pause in C++ instead of the CPU's assembly
# TESTS=            for make check: only these, by name: 'conformance wait'
# BENCH_OPTIONS=    of jobswitch-bench, for make bench: --quick
# MUTANTS=          for make mutants: only those whose name this is found in
# MUTANTS_OF=       for make mutants-core: of these sources: 'ready wait'
# V=1               shows commands
# CC CXX AR NASM CPPFLAGS CFLAGS CXXFLAGS LDFLAGS PREFIX LIBDIR DESTDIR: as usual

# (As the folders in arch/ are called, where the kernel tells versions of a CPU apart.)
machine := $(patsubst armv%l,arm,$(patsubst i%86,i386,$(shell uname -m)))
# (A CPU that has no folder: the one for any.)
ARCH ?= $(if $(wildcard arch/$(machine)/arch.mk),$(machine),generic)
MODE ?= release
ENTRY ?=
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
NASM ?= nasm
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := all

BUILD := build/$(ARCH)$(LIBC:%=-%)-$(MODE)$(ENTRY:%=-%)
loud := $(filter-out 0,$(V))
Q := $(if $(loud),,@)
say = $(if $(loud),,@printf '  %-7s %s\n' $(1) $(patsubst $(BUILD)/%,%,$(2)))

ifeq ($(wildcard arch/$(ARCH)/arch.mk),)
$(error no port for ARCH=$(ARCH): there is $(patsubst arch/%/arch.mk,%,$(wildcard arch/*/arch.mk)))
endif
include arch/$(ARCH)/arch.mk

# For another CPU than this machine's: the prefix of its tools, and what runs its
# programs.
ifeq ($(filter $(ARCH),$(machine) generic),)
cross := $(arch-cross)
emulator := $(arch-emulator)
endif
deps := CROSS='$(cross)' EMULATOR='$(emulator)' LIBC='$(LIBC)' ASSEMBLER='$(arch-assembler)' test/deps.sh

# Another C library than the machine's. There is no C++ library for it: the runtime needs
# none, but its headers, and what is written in C++ beside it is left out.
ifneq ($(LIBC),)
ifneq ($(LIBC)$(cross),musl)
$(error LIBC is musl, on a machine with the CPU itself, or not set)
endif
ifeq ($(filter release debug,$(MODE)),)
$(error LIBC=musl goes with MODE=release and MODE=debug)
endif
CC := musl-gcc
CXX := $(CURDIR)/test/musl_g++.sh
endif

# ---- modes -------------------------------------------------------------------

flags-release := -O2
flags-debug := -O0
flags-asan := -O1 -fno-omit-frame-pointer -fsanitize=address
flags-ubsan := -O1 -fsanitize=undefined -fno-sanitize=vptr -fno-sanitize-recover=all
flags-tsan := -O1 -fno-omit-frame-pointer -fsanitize=thread
flags-valgrind := -O1 -DJOBSWITCH_VALGRIND
ifeq ($(flags-$(MODE)),)
$(error no MODE=$(MODE): there is release, debug, asan, ubsan, tsan, valgrind)
endif

ifneq ($(and $(cross),$(filter asan tsan valgrind,$(MODE))),)
$(error MODE=$(MODE) wants a machine with the CPU itself)
endif

# GCC 12's ThreadSanitizer ends at 8,128 jobs.
ifeq ($(MODE),tsan)
ifneq ($(filter default undefined,$(origin CC)),)
CC := clang
endif
ifneq ($(filter default undefined,$(origin CXX)),)
CXX := clang++
endif
endif
given = $(filter-out default undefined,$(origin $(1)))
ifeq ($(call given,CC),)
CC := $(cross)gcc
endif
ifeq ($(call given,CXX),)
CXX := $(cross)g++
endif
ifeq ($(call given,AR),)
AR := $(cross)ar
endif
OBJCOPY ?= $(cross)objcopy
NM ?= $(cross)nm

# What programs inline of the library; where it has nothing of it, the header is told.
inline-h := $(if $(filter portable,$(ENTRY)),,$(wildcard arch/$(ARCH)/inline.h))
# The caller's CFLAGS and CXXFLAGS come last and win.
# (psabi: no note of what an older GCC passed otherwise.)
warnings := -Wall -Wextra -Wpedantic -Wno-psabi
common := $(flags-$(MODE)) -g $(warnings) -Iinclude $(if $(inline-h),,-DJOBSWITCH_NO_INLINE=) -fstack-clash-protection $(arch-flags)
lib-flags := -std=c++20 -DJOBSWITCH_BUILDING -Isrc -Iarch/$(ARCH) \
    -fPIC -fvisibility=hidden -fno-exceptions -fno-rtti -fno-threadsafe-statics \
    -fasynchronous-unwind-tables
user-c := -std=gnu11
user-cxx := -std=c++20
ifeq ($(filter asan ubsan tsan,$(MODE)),)
lib-link := -Wl,-z,defs
endif
# GCC makes ordinary objects of its own -flto when it joins them; clang's would
# ask for a plugin in everybody's linker.
ifneq ($(findstring -flto,$(CXXFLAGS)),)
ifneq ($(findstring clang,$(CXX)),)
lib-lto := -fno-lto
else
join-lto := -O2 -flto -flinker-output=nolto-rel
endif
endif

# ---- the libraries -----------------------------------------------------------

entry := $(if $(filter portable,$(ENTRY)),src/entry.cpp,$(or $(arch-entry),src/entry.cpp))
sources := $(filter-out src/entry.cpp,$(wildcard src/*.cpp)) $(arch-sources) $(entry)
objects := $(patsubst %,$(BUILD)/%.o,$(sources))
version := $(shell sed -n 's/.*VERSION_STRING "\(.*\)"/\1/p' include/jobswitch/jobswitch.h)
lib-a := $(BUILD)/libjobswitch.a
lib-so := $(BUILD)/libjobswitch.so.1
# The drop-in for OpenSSL's jobs: what is above, and src/openssl/, in one file to preload.
openssl-objects := $(patsubst %,$(BUILD)/%.o,$(wildcard src/openssl/*.cpp))
openssl-so := $(BUILD)/libjobswitch-openssl.so.1
# (How it looks at programs is glibc's.)
launcher := $(if $(LIBC),,$(BUILD)/jobswitch-openssl)

# What was built with other words is built again; but make install, without
# words of its own, installs what is there.
words := $(CC) $(CXX) $(NASM) $(CPPFLAGS) $(CFLAGS) $(CXXFLAGS) $(LDFLAGS)
again := Makefile arch/$(ARCH)/arch.mk $(BUILD)/words
.PHONY: always
$(BUILD)/words: $(if $(filter install,$(MAKECMDGOALS)),$(if $(findstring FLAGS,$(MAKEOVERRIDES))$(filter CC=% CXX=% NASM=%,$(MAKEOVERRIDES)),always),always)
	$(Q)mkdir -p $(@D)
	$(Q)echo '$(words)' | cmp -s - $@ || echo '$(words)' > $@

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all
all: $(lib-a) $(lib-so) $(BUILD)/libjobswitch.so $(BUILD)/libjobswitch-openssl.so $(launcher)

compile-library = $(CXX) $(common) $(lib-flags) $(arch-cxxflags) $(CPPFLAGS) $(CXXFLAGS) $(lib-lto)
library-cpp := $(patsubst %,$(BUILD)/%.o,$(filter %.cpp,$(sources))) $(filter %.cpp.o,$(openssl-objects))
$(library-cpp): $(BUILD)/%.cpp.o: %.cpp $(again)
	$(call say,CXX,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(compile-library) -MMD -MP -c -o $@ $<

# A run of its own for what it includes: NASM 2.16's -MD names none of it.
$(BUILD)/%.asm.o: %.asm $(BUILD)/offsets.inc $(again)
	$(call say,NASM,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(NASM) -I$(dir $<) -I$(BUILD)/ -M -MP -MT $@ $< > $(@:.o=.d)
	$(Q)$(NASM) -f $(arch-nasm-format) -g -w+all -w+error -I$(dir $<) -I$(BUILD)/ -o $@ $<
	$(Q)$(OBJCOPY) --discard-all $@

# Of the caller's words those that choose the machine, as for the C++ beside it.
$(BUILD)/%.S.o: %.S $(again)
	$(call say,AS,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -g $(warnings) -Isrc -I$(<D) $(arch-cxxflags) $(filter -m%,$(CXXFLAGS)) -MMD -MP -c -o $@ $<

# The offsets that assembly shares with C++, in NASM's words.
$(BUILD)/offsets.inc: arch/$(ARCH)/machine.h src/layout.h $(wildcard arch/$(ARCH)/inline.h)
	$(Q)mkdir -p $(@D)
	$(Q)sed -n 's@/\*.*\*/@@; s/^#define \(JS_[A-Z_0-9]* ..*\|JOBSWITCH_AT_.*\)/%define \1/p' $^ > $@

# One object, in which only the public names are global: a program that links
# the archive may have a job_start of its own. Where the CPU's linker cannot do with names
# that were made local (arch-renames), they get one that nobody else has.
$(BUILD)/jobswitch.o: $(objects)
	$(Q)$(CC) $(join-lto) $(arch-join) -r -nostdlib -o $@ $^
ifeq ($(arch-renames),)
	$(Q)$(OBJCOPY) --localize-hidden $@
else
	$(Q)$(NM) -g --defined-only $@ | awk '$$2 !~ /[WVu]/ && $$3 !~ /^jobswitch_/ {print $$3, "jobswitch_inner_" $$3}' > $@.names
	$(Q)$(OBJCOPY) --redefine-syms=$@.names $@
endif

# The tests' own, with all names.
lib-inside := $(BUILD)/inside.a
$(lib-a): $(BUILD)/jobswitch.o
$(lib-inside): $(objects)
$(lib-a) $(lib-inside):
	$(call say,AR,$@)
	$(Q)rm -f $@
	$(Q)$(AR) rcs $@ $^

# Without start files: there is nothing to construct, and the C library's carry
# no mark of landing pads.
$(lib-so): $(objects) src/jobswitch.map $(again)
$(openssl-so): $(openssl-objects) $(objects) src/openssl/openssl.map $(again)
$(openssl-so): private so-libs := -ldl
$(lib-so) $(openssl-so):
	$(call say,LINK,$@)
	$(Q)$(CC) $(flags-$(MODE)) -shared -nostartfiles $(arch-ldflags) -Wl,-soname,$(@F) -Wl,-z,nodelete \
	    -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack $(lib-link) \
	    -Wl,--version-script,$(filter %.map,$^) $(LDFLAGS) -o $@ $(filter %.o,$^) $(so-libs)

$(BUILD)/libjobswitch.so: $(lib-so)
$(BUILD)/libjobswitch-openssl.so: $(openssl-so)
$(BUILD)/libjobswitch.so $(BUILD)/libjobswitch-openssl.so:
	$(Q)ln -sf $(<F) $@

# It finds the library where it is built, and where it is installed.
$(BUILD)/jobswitch-openssl: $(BUILD)/src/openssl/launcher.c.o $(BUILD)/libjobswitch-openssl.so
	$(call say,LINK,$@)
	$(Q)$(CC) $(flags-$(MODE)) -Wl,-rpath,'$$ORIGIN:$$ORIGIN/../lib' $(LDFLAGS) -o $@ $< \
	    -L$(BUILD) -Wl,--no-as-needed -ljobswitch-openssl -ldl

# ---- programs ----------------------------------------------------------------
#
# All are users of the public header; tests may look inside as well.

$(BUILD)/%.c.o: %.c $(again)
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(common) $(user-c) $(more-flags) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/%.cpp.o: %.cpp $(again)
	$(call say,CXX,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CXX) $(common) $(user-cxx) $(more-flags) $(CPPFLAGS) $(CXXFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/src/openssl/launcher.c.o: private more-flags = -DLAUNCHER_VERSION='"$(version)"'
$(BUILD)/test/%.o: private more-flags = -Isrc -Iarch/$(ARCH) $(arch-test-flags) $(test-flags)

define link-with
	$(call say,LINK,$@)
	$(Q)$(if $(LIBC),$(CC),$(CXX)) $(flags-$(MODE)) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(1) -pthread
endef
comma := ,
with-so = -L$(BUILD) -ljobswitch -Wl,-rpath,'$$ORIGIN/..'
with-openssl-so = -L$(BUILD) -Wl,--no-as-needed -ljobswitch-openssl -Wl,-rpath,'$$ORIGIN/..'

examples := $(BUILD)/examples/manpage $(BUILD)/examples/http_server
$(BUILD)/examples/manpage: $(BUILD)/examples/manpage.c.o $(BUILD)/libjobswitch.so
	$(call link-with,$(with-so))
$(BUILD)/examples/http_server: $(BUILD)/examples/http_server.cpp.o $(BUILD)/libjobswitch.so
	$(call link-with,$(with-so))

# The benchmarks. Rows and peers are files that need no word here: rows/*.h is
# what each peer is compiled with, and a peer's "Needs:" line says what to link
# it with, where the header it names is there.
bench := $(BUILD)/bench/jobswitch-bench
bench-core := $(patsubst %,$(BUILD)/%.o,$(wildcard bench/*.cpp bench/rows/*.cpp))
bench-peers := $(patsubst %,$(BUILD)/%.o,$(wildcard bench/peers/*.cpp))
bench-made := $(BUILD)/bench/made
# Two peers are linked with the shared library; whatever else is of jobswitch, with
# the archive, whose names end there.
bench-shared := $(filter %/jobswitch-shared.cpp.o %/jobswitch-functions.cpp.o,$(bench-peers))
# Who calls OpenSSL's jobs is a library as well, libssl; and to jump between a program and
# libraries is slow on some processors.
bench-openssl := $(filter %/openssl.cpp.o %/jobswitch-openssl.cpp.o,$(bench-peers))
bench-so := $(BUILD)/bench/libjobswitch-bench-openssl.so
bench-static := $(BUILD)/bench/static.o
$(bench-static): $(filter-out $(bench-shared) $(bench-openssl),$(bench-core) $(bench-peers)) $(lib-a)
	$(Q)$(CXX) $(join-lto) -r -nostdlib -o $@ $^
	$(Q)$(OBJCOPY) --wildcard --localize-symbol='jobswitch_*' $@
$(bench): $(bench-static) $(bench-shared) $(bench-peers:.cpp.o=.libs) $(BUILD)/libjobswitch.so $(bench-so)
	$(call link-with,$(with-so) $(bench-so-link) $$(cat $(filter %.libs,$^)) -ldl)
bench-so-link = -Wl,-rpath,'$$ORIGIN:$$ORIGIN/../lib' -rdynamic -L$(BUILD)/bench -Wl,--no-as-needed -ljobswitch-bench-openssl
$(bench-so): $(bench-openssl) $(bench-openssl:.cpp.o=.libs)
	$(call link-with,-shared -Wl$(comma)-soname$(comma)$(@F) $$(cat $(filter %.libs,$^)) -ldl)
$(bench-core) $(bench-peers): more-flags = -Ibench -I$(bench-made) $(if $(filter $@,$(bench-openssl)),-fPIC)
$(bench-core) $(bench-peers): | $(bench-made)/bench_rows.h $(bench-made)/bench_built.h
$(BUILD)/%.libs: %.cpp $(again)
	$(Q)mkdir -p $(@D)
	$(Q)set -- $$(sed -n 's@^// Needs: @@p' $<); header=$$1; \
	    [ $$# -lt 2 ] || shift 2; \
	    if [ -n "$$header" ] && echo "#include <$$header>" | $(CXX) $(user-cxx) $(CPPFLAGS) -E -x c++ - >/dev/null 2>&1; \
	    then echo "$$*"; fi > $@
$(bench-made)/bench_rows.h: always
	$(Q)mkdir -p $(@D)
	$(Q)printf '#include "%s"\n' $(wildcard bench/rows/*.h) | sed 's@"bench/@"@' > $@.new
	$(Q)cmp -s $@.new $@ || cp $@.new $@
# (With the list of objects, so that a row that goes is linked out.)
$(bench-made)/bench_built.h: always
	$(Q)mkdir -p $(@D)
	$(Q)commit=$$(git rev-parse --short=12 HEAD 2>/dev/null) || commit=unknown; \
	    [ $$commit = unknown ] || git diff --quiet HEAD 2>/dev/null || commit=$$commit-changed; \
	    printf '#define BENCH_COMMIT "%s"\n#define BENCH_FLAGS "%s"\n' $$commit \
	    '$(subst ",\",$(strip $(filter-out -I% -W%,$(common)) $(user-cxx) $(CPPFLAGS) $(CXXFLAGS)))' > $@.new; \
	    echo '// $(sort $(bench-core) $(bench-peers))' >> $@.new
	$(Q)cmp -s $@.new $@ || cp $@.new $@

.PHONY: examples bench-programs bench
examples: $(examples)
bench-programs: $(bench) $(openssl-so)
# (Under an emulator nothing is to be measured.)
native-only = $(if $(cross),$(error make $@ wants a machine with the CPU itself))
bench:
	$(native-only)
	$(Q)$(deps) bench
	$(Q)$(MAKE) --no-print-directory bench-programs
	$(Q)$(bench) $(BENCH_OPTIONS) --json $(BUILD)/bench/report.json --html $(BUILD)/bench/report.html

.PHONY: run
run:
	$(native-only)
	$(Q)$(deps) run
	$(Q)$(MAKE) --no-print-directory all examples bench-programs
	$(Q)BUILD=$(BUILD) bench/run_demo.sh

# ---- tests -------------------------------------------------------------------
#
# test/NAME_test.{c,cpp} is a program of its own, linked with all of the library's
# objects; those of shared-tests with the shared library. test/NAME_test.sh is run as it
# is, and so is a CPU's own.

# For another CPU or C library CMocka is built from its one file: not each has a package.
ifneq ($(cross)$(LIBC),)
build/cmocka/src/cmocka.c:
	$(call say,FETCH,$@)
	$(Q)test/cmocka.sh build/cmocka
cmocka := $(BUILD)/cmocka.o
test-flags := -isystem build/cmocka/include
$(cmocka): build/cmocka/src/cmocka.c $(again)
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -O1 -g $(addprefix -DHAVE_,MALLOC_H INTTYPES_H SIGNAL_H STRINGS_H STRSIGNAL STRUCT_TIMESPEC \
	    CLOCK_REALTIME SIGLONGJMP GCC_THREAD_LOCAL_STORAGE) -funwind-tables $(test-flags) -c -o $@ $<
endif

plain-and-native := $(if $(filter asan ubsan tsan valgrind,$(MODE))$(cross)$(LIBC),,yes)
shared-tests := beside_openssl plugin
# With the drop-in. (libssl is there for this machine's CPU and its C library.)
openssl-tests := openssl_api openssl_tls
drop-in-tests := openssl_alone openssl_fork $(openssl-tests)
# Models of threads say the same whatever they are built for.
test-sources := $(filter-out $(if $(plain-and-native),,test/weak_%),$(wildcard test/*_test.c $(if $(LIBC),,test/*_test.cpp)))
ifneq ($(cross)$(LIBC),)
test-sources := $(filter-out $(openssl-tests:%=test/%_test.cpp),$(test-sources))
endif
test-names := $(patsubst test/%_test,%,$(basename $(test-sources))) $(if $(plain-and-native),openssl_own)
test-programs := $(patsubst %,$(BUILD)/test/%_test,$(test-names))
test-scripts := $(if $(LIBC),test/doc_test.sh test/link_test.sh,$(wildcard test/*_test.sh arch/$(ARCH)/*_test.sh))
# The documents are the same whatever tool is in the library.
ifneq ($(filter asan ubsan tsan valgrind,$(MODE)),)
test-scripts := $(filter-out test/doc_%.sh test/manpage_%.sh,$(test-scripts))
endif
ifneq ($(TESTS),)
unknown-tests := $(filter-out $(test-names) $(patsubst %_test.sh,%,$(notdir $(test-scripts))),$(TESTS))
$(if $(unknown-tests),$(error no test: $(unknown-tests)))
test-programs := $(filter $(patsubst %,$(BUILD)/test/%_test,$(TESTS)),$(test-programs))
test-scripts := $(filter $(patsubst %,test/%_test.sh,$(TESTS)) $(patsubst %,arch/$(ARCH)/%_test.sh,$(TESTS)),$(test-scripts))
endif
$(patsubst %,$(BUILD)/%.o,$(test-sources)): | $(if $(cmocka),build/cmocka/src/cmocka.c)

library-of = $(if $(filter $(1),$(shared-tests)),$(BUILD)/libjobswitch.so,$(if $(filter $(1),$(drop-in-tests)),$(BUILD)/libjobswitch-openssl.so,$(lib-inside)))
with-library-of = $(if $(filter $(1),$(shared-tests)),$(with-so),$(if $(filter $(1),$(drop-in-tests)),$(with-openssl-so) $(if $(filter $(1),$(openssl-tests)),-lssl -lcrypto)))
define test-rule
$(BUILD)/test/$(1)_test: $$(patsubst %,$(BUILD)/%.o,$$(wildcard test/$(1)_test.c test/$(1)_test.cpp)) $(call library-of,$(1)) $(cmocka)
	$$(call link-with,$$(call with-library-of,$(1)) $$(libs-$(1)) $(if $(cmocka),,-lcmocka) -ldl)
endef
$(foreach name,$(filter-out openssl_own,$(test-names)),$(eval $(call test-rule,$(name))))
# The same tests of OpenSSL's own jobs, which no tool is told of.
$(BUILD)/test/openssl_own_test: $(BUILD)/test/openssl_api_test.cpp.o
	$(call link-with,-lcrypto -lcmocka -ldl)
$(BUILD)/test/beside_openssl_test: $(BUILD)/test/beside_openssl_test.libs
libs-beside_openssl = $$(cat $(BUILD)/test/beside_openssl_test.libs)
# What is inside the drop-in.
$(BUILD)/test/openssl_slot_test: $(openssl-objects)
libs-openssl_slot := $(lib-inside)
libs-fork := $(addprefix -Wl$(comma)--wrap=,syscall _Z10ready_pushR10ready_ringj _Z9event_seti _Z11event_cleari \
    _Z16lock_before_forkR4lock _Z15lock_after_forkR4lock)
libs-fp := -lm
libs-ready := -Wl,--wrap=mmap -Wl,--wrap=syscall
libs-timer := -Wl,--wrap=mmap -Wl,--wrap=munmap
libs-wait := $(addprefix -Wl$(comma)--wrap=,syscall _Z9event_seti _Z11event_cleari _Z11event_closei)
# A held thread must not hold the dynamic linker's lock.
libs-step := -Wl,-z,now
libs-step_cancel := $(libs-step)
libs-step_fork := $(libs-step)
# It runs these themselves, with a model of memory.
compile-weak = $(CXX) $(common) $(lib-flags) $(CPPFLAGS) $(CXXFLAGS) -include test/weak.h
weak-objects := $(patsubst %,$(BUILD)/test/weak/%.cpp.o,ready wait)
$(weak-objects): $(BUILD)/test/weak/%.cpp.o: src/%.cpp test/weak.h $(again)
	$(call say,CXX,$< with a model of memory)
	$(Q)mkdir -p $(@D)
	$(Q)$(compile-weak) -MMD -MP -c -o $@ $<
$(BUILD)/test/weak_memory_test: $(weak-objects)
libs-conformance := $(if $(filter asan tsan valgrind,$(MODE)),,-Wl,--wrap=context_ended -Wl,--wrap=context_unwound)
$(BUILD)/test/openssl_tls_test: $(BUILD)/test/pausing_engine.c.o $(BUILD)/test/tls_clients
$(BUILD)/test/tls_clients: $(BUILD)/test/tls_clients.c.o
	$(call link-with,-lssl -lcrypto)
$(BUILD)/test/bench_test: $(patsubst %,$(BUILD)/bench/%.cpp.o,stats baseline json)
$(BUILD)/test/bench_html_test: $(patsubst %,$(BUILD)/bench/%.cpp.o,html html_chart text stats)

.PHONY: check check-programs
check:
	$(Q)$(deps) check $(MODE)
	$(Q)$(MAKE) --no-print-directory check-programs
	$(Q)BUILD=$(BUILD) MODE=$(MODE) ARCH=$(ARCH) LIBC=$(LIBC) CC='$(CC)' CXX='$(CXX)' EMULATOR='$(emulator)' \
	    SANITIZE='$(filter -fsanitize=%,$(flags-$(MODE)))' \
	    test/run.sh $(test-programs) $(test-scripts)

# What test/soak_test.sh runs for a minute at most.
soak-program := $(BUILD)/test/soak
$(soak-program): $(BUILD)/test/soak.cpp.o $(lib-a)
	$(call link-with)
MINUTES ?= 1
.PHONY: soak
soak:
	$(Q)$(deps) check $(MODE)
	$(Q)$(MAKE) --no-print-directory $(soak-program)
	$(Q)SOAK_SECONDS=$$(($(MINUTES) * 60)) BUILD=$(BUILD) MODE=$(MODE) ARCH=$(ARCH) EMULATOR='$(emulator)' bash test/soak_test.sh

# (Single tests bring what they look at.)
with-examples := $(if $(LIBC),,$(if $(TESTS),$(filter http manpage,$(TESTS)),yes))
check-programs: all $(if $(plain-and-native),$(if $(TESTS),,$(bench)) $(BUILD)/test/tls_clients) $(if $(with-examples),examples) \
    $(if $(filter test/soak_test.sh,$(test-scripts)),$(soak-program)) $(test-programs)

# Each in make check's own way; what it says of each is kept in build/ports/.
.PHONY: check-ports
check-ports:
	$(Q)test/check_ports.sh $(patsubst arch/%/arch.mk,%,$(wildcard arch/*/arch.mk))

# Of NASM's sources and of inline.h there are changed sources; of GNU as's, changed bytes.
.PHONY: mutants mutants-arch mutants-core
mutants: mutants-arch mutants-core
ifeq ($(ARCH),generic)
mutants-arch:
	@echo "no mutants: there is no assembly for ARCH=generic"
else ifneq ($(wildcard arch/$(ARCH)/mutants.pl),)
mutants-arch:
	$(Q)$(deps) check $(MODE)
	$(Q)$(MAKE) --no-print-directory all $(patsubst %,$(BUILD)/test/%_test,conformance unwind model)
	$(Q)BUILD=$(BUILD) MODE=$(MODE) ARCH=$(ARCH) CC='$(CC)' CXX='$(CXX)' \
	    ASSEMBLE='$(NASM) -f $(arch-nasm-format) -Iarch/$(ARCH)/ -I$(BUILD)/' \
	    test/mutants.sh $(arch-sources) $(entry)
	$(Q)[ -z '$(inline-h)' ] || \
	    BUILD=$(BUILD) ARCH=$(ARCH) CC='$(CC)' CXX='$(CXX)' test/mutants_inline.sh
else
mutants-arch:
	$(Q)$(deps) check $(MODE)
	$(Q)$(MAKE) --no-print-directory $(BUILD)/test/conformance_test
	$(Q)BUILD=$(BUILD) ARCH=$(ARCH) OBJDUMP=$(cross)objdump EMULATOR='$(emulator)' perl test/mutants_elf.pl
endif

# The core is the same for each CPU. MUTANTS_OF=: these of its sources
MUTANTS_OF ?= ready wait timer loop
mutants-core-tests := ready weak_memory wait loop timer model api thread step_fork step
mutants-core:
ifneq ($(cross)$(LIBC)$(filter asan ubsan tsan valgrind,$(MODE)),)
	@echo "no mutants of the core: they are for this machine's CPU, without a tool"
else
	$(Q)$(deps) check $(MODE)
	$(Q)$(MAKE) --no-print-directory all $(patsubst %,$(BUILD)/test/%_test,$(mutants-core-tests))
	$(Q)BUILD=$(BUILD) MODE=$(MODE) ARCH=$(ARCH) CC='$(CC)' CXX='$(CXX)' \
	    COMPILE='$(compile-library)' COMPILE_WEAK='$(compile-weak)' \
	    LINK='$(CXX) $(flags-$(MODE)) $(LDFLAGS)' \
	    LINK_ready='$(libs-ready)' LINK_wait='$(libs-wait)' LINK_timer='$(libs-timer)' \
	    LINK_step='$(libs-step)' LINK_step_fork='$(libs-step_fork)' \
	    nice test/mutants_core.sh $(MUTANTS_OF:%=src/%.cpp)
endif

# For another CPU: its tools, and what they build tests with.
.PHONY: cross-deps
cross-deps:
	$(Q)$(deps) check
	$(Q)$(if $(cmocka),$(MAKE) --no-print-directory build/cmocka/src/cmocka.c)

.PHONY: lint deps
lint:
	$(Q)$(deps) lint
	$(Q)$(MAKE) --no-print-directory all
	$(Q)BUILD=$(BUILD) CC='$(CC)' CXX='$(CXX)' test/lint.sh
deps:
	$(Q)$(deps) all
.PHONY: help
help:
	@sed -n '/^#/!q; s/^# \{0,1\}//; 3,$$p' Makefile

# With clean beside it, what is to be built waits for that.
ifneq ($(filter clean,$(MAKECMDGOALS)),)
$(filter-out clean,$(MAKECMDGOALS)): | clean
.NOTPARALLEL:
endif

# ---- installing --------------------------------------------------------------

headers := $(filter-out %/inline.h,$(wildcard include/jobswitch/*.h)) $(inline-h)
pages := $(patsubst doc/%,%,$(wildcard doc/man[137]/*.[137]))
# In double quotes in every recipe: they may hold blanks.
include-to = $(DESTDIR)$(PREFIX)/include
lib-to = $(DESTDIR)$(LIBDIR)
bin-to = $(DESTDIR)$(PREFIX)/bin
man-to = $(DESTDIR)$(PREFIX)/share/man

.PHONY: install uninstall clean
install: all
	$(Q)install -d "$(include-to)/jobswitch" "$(include-to)/jobswitch-compat/openssl" \
	    "$(lib-to)/pkgconfig" "$(man-to)/man1" "$(man-to)/man3" "$(man-to)/man7"
	$(Q)install -m 644 $(headers) "$(include-to)/jobswitch"
	$(Q)install -m 644 include/compat/openssl/async.h "$(include-to)/jobswitch-compat/openssl"
	$(Q)install -m 644 $(lib-a) "$(lib-to)"
	$(Q)for name in libjobswitch libjobswitch-openssl; do \
	    install -m 755 $(BUILD)/$$name.so.1 "$(lib-to)/$$name.so.$(version)" && \
	    ln -sf $$name.so.$(version) "$(lib-to)/$$name.so.1" && \
	    ln -sf $$name.so.1 "$(lib-to)/$$name.so" || exit; done
	$(Q)printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$(LIBDIR)' \
	    'includedir=$${prefix}/include' '' 'Name: jobswitch' \
	    'Description: jobs that pause and resume, on stacks of their own' \
	    'Version: $(version)' 'Libs: -L$${libdir} -ljobswitch' \
	    'Libs.private: -pthread' 'Cflags: -I$${includedir}' \
	    > "$(lib-to)/pkgconfig/jobswitch.pc"
	$(Q)printf '%s\n' 'libdir=$(LIBDIR)' '' 'Name: jobswitch-openssl' \
	    'Description: OpenSSL jobs by jobswitch; to be linked before libssl and libcrypto' \
	    'Version: $(version)' \
	    'Libs: -L$${libdir} -Wl,--push-state,--no-as-needed -ljobswitch-openssl -Wl,--pop-state' \
	    > "$(lib-to)/pkgconfig/jobswitch-openssl.pc"
	$(Q)$(if $(wildcard $(bench)),install -m 755 $(bench-so) "$(lib-to)")
	$(Q)for program in $(wildcard $(bench)) $(launcher); do \
	    install -d "$(bin-to)" && install -m 755 $$program "$(bin-to)" || exit; done
	$(Q)for page in $(pages); do install -m 644 doc/$$page "$(man-to)/$$page" || exit; done
# (jobswitch-bench if it was built: the library needs none of its packages.)
#
# What was installed, by name, and the folders that were made for it alone.
uninstall:
	$(Q)for file in $(notdir $(headers)); do rm -f "$(include-to)/jobswitch/$$file"; done
	$(Q)for name in libjobswitch libjobswitch-openssl; do \
	    rm -f "$(lib-to)/$$name.so" "$(lib-to)/$$name.so.1" "$(lib-to)/$$name.so.$(version)" \
	        "$(lib-to)/pkgconfig/$${name#lib}.pc"; done
	$(Q)rm -f "$(bin-to)/$(notdir $(bench))" "$(bin-to)/jobswitch-openssl" "$(lib-to)/$(notdir $(bench-so))" \
	    "$(include-to)/jobswitch-compat/openssl/async.h" "$(lib-to)/libjobswitch.a"
	$(Q)for page in $(pages); do rm -f "$(man-to)/$$page"; done
	$(Q)rmdir "$(include-to)/jobswitch" "$(include-to)/jobswitch-compat/openssl" \
	    "$(include-to)/jobswitch-compat" 2>/dev/null || :
clean:
	$(Q)rm -rf build

-include $(patsubst %.o,%.d,$(objects) $(openssl-objects) $(weak-objects) $(BUILD)/src/openssl/launcher.c.o) $(wildcard $(addprefix $(BUILD)/,test/*.d examples/*.d bench/*.d bench/rows/*.d bench/peers/*.d))
