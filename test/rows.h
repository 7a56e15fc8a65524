// SPDX-License-Identifier: Apache-2.0
//
// Unwind rows, read and obeyed: one step from a function to its caller, as the program's
// .eh_frame says. The C library's unwinder does the same, but shows no
// floating-point register everywhere, and on some CPUs does not get out of a signal
// handler; a debugger reads the rows as this does. Knows what the hand-written assembly
// uses, and reports all else.
//
// Encodings: DWARF 5, 2.5 (expressions) and 6.4 (rows); Linux Standard Base, 10.6 (the
// section). Where the program has no .eh_frame (arm, whose unwinder does not go by rows),
// what a debugger reads: .debug_frame of the program's file.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <link.h>
#include <vector>

// Registers by their numbers for DWARF.
struct row_registers {
    static constexpr unsigned most = 288;
    static constexpr unsigned upper = most; // and a number: what one has above 64 bits
    uint64_t value[2 * most] = {};
};

struct row_step {
    const char *wrong = nullptr; // what cannot be obeyed
    uint64_t cfa = 0;
    bool is_signal_frame = false;
    bool has_personality = false;
    bool signs_return_address = false;
};

class row_table {
public:
    // Of this program, not of its libraries.
    row_table()
    {
        dl_iterate_phdr(
            [](dl_phdr_info *info, size_t, void *to) {
                auto &table = *static_cast<row_table *>(to);
                table.base = info->dlpi_addr;
                for (int i = 0; i < info->dlpi_phnum; i++)
                    if (info->dlpi_phdr[i].p_type == PT_GNU_EH_FRAME)
                        table.header = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
                return 1;
            },
            this);
        if (header)
            read_header();
        else
            read_debug_frame();
    }

    // From the function that `address` lies in to its caller. The registers are made
    // those of the caller; its stack pointer has number `sp`, its return address `ra`.
    // Where no rule says what the stack pointer was, it was the CFA, if that is so on
    // this CPU, or is as it is.
    row_step step(uint64_t address, row_registers &registers, unsigned sp, unsigned ra,
                  bool sp_is_cfa) const
    {
        row_step s;
        const description *d = find(address);
        if (!d) {
            s.wrong = "no rows";
            return s;
        }
        machine m(registers);
        m.run(d->cie, d->cie.rows, d->cie.rows_end, 0, UINT64_MAX);
        rule initial[row_registers::most];
        memcpy(initial, m.rules, sizeof initial);
        m.initial = initial;
        m.run(d->cie, d->rows, d->rows_end, d->begin, address);
        s.wrong = m.wrong;
        s.is_signal_frame = d->cie.is_signal_frame;
        s.has_personality = d->cie.has_personality;
        s.signs_return_address = m.signs;
        if (d->cie.return_register != ra)
            s.wrong = "another return register";
        if (!s.wrong)
            s.cfa = m.apply(registers, sp, sp_is_cfa);
        s.wrong = m.wrong;
        return s;
    }

private:
    struct common { // of several descriptions
        const uint8_t *rows = nullptr, *rows_end = nullptr;
        uint64_t code_factor = 1;
        int64_t data_factor = 1;
        unsigned return_register = 0;
        uint8_t encoding = 0;
        bool is_signal_frame = false, has_personality = false;
    };
    struct description {
        uint64_t begin, end;
        const uint8_t *rows, *rows_end;
        common cie;
    };

    uintptr_t header = 0;
    uintptr_t base = 0; // where the program was loaded
    std::vector<uint8_t> file;
    std::vector<description> all;

    template <class T> static T take(const uint8_t *&at)
    {
        T value;
        memcpy(&value, at, sizeof value);
        at += sizeof value;
        return value;
    }
    static uint64_t unsigned_of(const uint8_t *&at)
    {
        uint64_t value = 0;
        for (unsigned shift = 0;; shift += 7) {
            uint8_t byte = *at++;
            if (shift < 64)
                value |= uint64_t(byte & 0x7f) << shift;
            if (!(byte & 0x80))
                return value;
        }
    }
    static int64_t signed_of(const uint8_t *&at)
    {
        uint64_t value = 0;
        unsigned shift = 0;
        uint8_t byte;
        do {
            byte = *at++;
            value |= uint64_t(byte & 0x7f) << shift;
            shift += 7;
        } while (byte & 0x80);
        if ((byte & 0x40) && shift < 64)
            value |= ~uint64_t(0) << shift;
        return int64_t(value);
    }
    // A pointer: its form in the lower half of the encoding, what it is relative to above.
    static uint64_t pointer_of(const uint8_t *&at, uint8_t encoding, uint64_t base = 0)
    {
        if (encoding == 0xff)
            return 0;
        auto place = reinterpret_cast<uintptr_t>(at);
        uint64_t value = 0;
        switch (encoding & 15) {
        case 0: value = take<uintptr_t>(at); break;
        case 2: value = take<uint16_t>(at); break;
        case 3: value = take<uint32_t>(at); break;
        case 4: value = take<uint64_t>(at); break;
        case 10: value = uint64_t(take<int16_t>(at)); break;
        case 11: value = uint64_t(take<int32_t>(at)); break;
        case 12: value = uint64_t(take<int64_t>(at)); break;
        }
        if (value == 0)
            return 0; // NULL, whatever it is relative to
        if ((encoding & 0x70) == 0x10)
            value += place;
        if ((encoding & 0x70) == 0x30)
            value += base;
        return uintptr_t(value);
    }

    void read_header()
    {
        auto at = reinterpret_cast<const uint8_t *>(header);
        uint8_t frame_encoding = at[1];
        at += 4;
        uint64_t section = pointer_of(at, frame_encoding, header);
        read_section(reinterpret_cast<const uint8_t *>(section));
    }

    void read_section(const uint8_t *at)
    {
        for (;;) {
            uint64_t bytes = take<uint32_t>(at);
            if (bytes == 0)
                return;
            if (bytes == 0xffffffff)
                bytes = take<uint64_t>(at);
            const uint8_t *end = at + bytes, *id_place = at;
            uint32_t id = take<uint32_t>(at);
            if (id) {
                description d = {};
                d.cie = common_of(id_place - id);
                d.begin = pointer_of(at, d.cie.encoding);
                d.end = d.begin + pointer_of(at, d.cie.encoding & 15);
                uint64_t more = unsigned_of(at);
                d.rows = at + more;
                d.rows_end = end;
                all.push_back(d);
            }
            at = end;
        }
    }

    // DWARF 5, 6.4.1: a CIE is told by its id, others give its distance from the start.
    void read_debug_frame()
    {
        FILE *in = fopen("/proc/self/exe", "rb");
        if (!in)
            return;
        uint8_t part[65536];
        for (size_t bytes; (bytes = fread(part, 1, sizeof part, in));)
            file.insert(file.end(), part, part + bytes);
        fclose(in);
        ElfW(Ehdr) elf;
        memcpy(&elf, file.data(), sizeof elf);
        auto section_of = [&](size_t i) {
            ElfW(Shdr) s;
            memcpy(&s, file.data() + elf.e_shoff + i * sizeof s, sizeof s);
            return s;
        };
        const uint8_t *names = file.data() + section_of(elf.e_shstrndx).sh_offset;
        for (size_t i = 0; i < elf.e_shnum; i++) {
            ElfW(Shdr) s = section_of(i);
            if (strcmp(reinterpret_cast<const char *>(names + s.sh_name), ".debug_frame") != 0)
                continue;
            const uint8_t *begin = file.data() + s.sh_offset, *at = begin;
            while (at < begin + s.sh_size) {
                uint64_t bytes = take<uint32_t>(at);
                const uint8_t *end = at + bytes;
                uint32_t id = take<uint32_t>(at);
                if (id != 0xffffffff) {
                    description d = {};
                    d.cie = common_of(begin + id);
                    d.begin = base + take<uintptr_t>(at);
                    d.end = d.begin + take<uintptr_t>(at);
                    d.rows = at;
                    d.rows_end = end;
                    all.push_back(d);
                }
                at = end;
            }
        }
    }

    static common common_of(const uint8_t *at)
    {
        common c;
        uint64_t bytes = take<uint32_t>(at);
        c.rows_end = at + bytes;
        at += 4; // id
        at++;    // version
        auto text = reinterpret_cast<const char *>(at);
        at += strlen(text) + 1;
        c.code_factor = unsigned_of(at);
        c.data_factor = signed_of(at);
        c.return_register = unsigned(unsigned_of(at));
        if (*text == 'z')
            unsigned_of(at);
        for (const char *letter = text; *letter; letter++) {
            if (*letter == 'R') {
                c.encoding = *at++;
            } else if (*letter == 'P') {
                uint8_t encoding = *at++;
                c.has_personality = pointer_of(at, encoding & ~0x80) != 0;
            } else if (*letter == 'L') {
                at++;
            } else if (*letter == 'S') {
                c.is_signal_frame = true;
            }
        }
        c.rows = at;
        return c;
    }

    const description *find(uint64_t address) const
    {
        for (const description &d : all)
            if (address >= d.begin && address < d.end)
                return &d;
        return nullptr;
    }

    // Where a register of the caller is.
    struct rule {
        enum : uint8_t { same, at_offset, in_register, at_expression, is_expression, gone } how = same;
        int64_t number = 0; // of bytes from the CFA, or of a register
        const uint8_t *expression = nullptr;
    };

    struct machine {
        const row_registers &now; // in the function
        rule rules[row_registers::most];
        const rule *initial = nullptr;
        unsigned cfa_register = 0;
        int64_t cfa_offset = 0;
        const uint8_t *cfa_expression = nullptr;
        bool signs = false;
        const char *wrong = nullptr;

        explicit machine(const row_registers &registers) : now(registers) {}

        uint64_t known(uint64_t number)
        {
            if (number < row_registers::most)
                return now.value[number];
            wrong = "a register that is not known";
            return 0;
        }
        void set(uint64_t number, rule r)
        {
            if (number < row_registers::most)
                rules[number] = r;
        }

        void run(const common &c, const uint8_t *at, const uint8_t *end, uint64_t place,
                 uint64_t address)
        {
            struct {
                rule rules[row_registers::most];
                unsigned cfa_register;
                int64_t cfa_offset;
                const uint8_t *cfa_expression;
            } kept = {};
            while (at < end && !wrong) {
                uint8_t operation = *at++;
                uint8_t low = operation & 63;
                uint64_t number;
                switch (operation >> 6) {
                case 1: place += low * c.code_factor; break;
                case 2:
                    set(low, {rule::at_offset, int64_t(unsigned_of(at)) * c.data_factor});
                    break;
                case 3: set(low, initial ? initial[low] : rule()); break;
                case 0:
                    switch (low) {
                    case 0x00: break;
                    case 0x02: place += take<uint8_t>(at) * c.code_factor; break;
                    case 0x03: place += take<uint16_t>(at) * c.code_factor; break;
                    case 0x04: place += take<uint32_t>(at) * c.code_factor; break;
                    case 0x05:
                        number = unsigned_of(at);
                        set(number,
                            {rule::at_offset, int64_t(unsigned_of(at)) * c.data_factor});
                        break;
                    case 0x06:
                        number = unsigned_of(at);
                        set(number, initial && number < row_registers::most ? initial[number]
                                                                            : rule());
                        break;
                    case 0x07: set(unsigned_of(at), {rule::gone}); break;
                    case 0x08: set(unsigned_of(at), {rule::same}); break;
                    case 0x09:
                        number = unsigned_of(at);
                        set(number, {rule::in_register, int64_t(unsigned_of(at))});
                        break;
                    case 0x0a:
                        memcpy(kept.rules, rules, sizeof rules);
                        kept.cfa_register = cfa_register;
                        kept.cfa_offset = cfa_offset;
                        kept.cfa_expression = cfa_expression;
                        break;
                    case 0x0b:
                        memcpy(rules, kept.rules, sizeof rules);
                        cfa_register = kept.cfa_register;
                        cfa_offset = kept.cfa_offset;
                        cfa_expression = kept.cfa_expression;
                        break;
                    case 0x0c:
                        cfa_register = unsigned(unsigned_of(at));
                        cfa_offset = int64_t(unsigned_of(at));
                        cfa_expression = nullptr;
                        break;
                    case 0x0d:
                        cfa_register = unsigned(unsigned_of(at));
                        cfa_expression = nullptr;
                        break;
                    case 0x0e: cfa_offset = int64_t(unsigned_of(at)); break;
                    case 0x0f:
                        cfa_expression = at;
                        number = unsigned_of(at);
                        at += number;
                        break;
                    case 0x10:
                    case 0x16:
                        number = unsigned_of(at);
                        set(number,
                            {low == 0x10 ? rule::at_expression : rule::is_expression, 0, at});
                        number = unsigned_of(at);
                        at += number;
                        break;
                    case 0x11:
                        number = unsigned_of(at);
                        set(number, {rule::at_offset, signed_of(at) * c.data_factor});
                        break;
                    case 0x12:
                        cfa_register = unsigned(unsigned_of(at));
                        cfa_offset = signed_of(at) * c.data_factor;
                        cfa_expression = nullptr;
                        break;
                    case 0x2d: signs = !signs; break; // AADWARF64, 4.4.1
                    default: wrong = "an operation of rows that is not known";
                    }
                }
                if (place > address)
                    return;
            }
        }

        // With the CFA as the first operand, where there is one.
        uint64_t evaluate(const uint8_t *at, const uint64_t *first)
        {
            uint64_t stack[16] = {};
            unsigned depth = 0;
            if (first)
                stack[depth++] = *first;
            const uint64_t bytes = unsigned_of(at);
            for (const uint8_t *end = at + bytes; at < end && !wrong;) {
                uint8_t operation = *at++;
                if (depth == 16 || (operation != 0x92 && operation < 0x30 && operation != 0x06 &&
                                    operation != 0x23 && depth < 2)) {
                    wrong = "an expression without its operands";
                } else if (operation >= 0x30 && operation < 0x50) {
                    stack[depth++] = operation - 0x30u;
                } else if (operation >= 0x70 && operation < 0x90) {
                    stack[depth++] = known(operation - 0x70u) + uint64_t(signed_of(at));
                } else if (operation == 0x92) {
                    uint64_t number = unsigned_of(at);
                    stack[depth++] = known(number) + uint64_t(signed_of(at));
                } else if (depth == 0) {
                    wrong = "an expression without its operands";
                } else if (operation == 0x06) {
                    stack[depth - 1] = *reinterpret_cast<const uintptr_t *>(uintptr_t(stack[depth - 1]));
                } else if (operation == 0x23) {
                    stack[depth - 1] += unsigned_of(at);
                } else {
                    uint64_t top = stack[--depth];
                    uint64_t &next = stack[depth - 1];
                    switch (operation) {
                    case 0x1a: next &= top; break;
                    case 0x1c: next -= top; break;
                    case 0x1e: next *= top; break;
                    case 0x22: next += top; break;
                    case 0x29: next = uintptr_t(next) == uintptr_t(top); break;
                    default: wrong = "an operation of expressions that is not known";
                    }
                }
            }
            if (!wrong && depth == 0)
                wrong = "an empty expression";
            return wrong ? 0 : uintptr_t(stack[depth - 1]);
        }

        // How wide a register is, who compares it knows. (One of 128 bits: on little-endian
        // CPUs.)
        static void load(row_registers &to, unsigned number, uint64_t address)
        {
            memcpy(&to.value[number], reinterpret_cast<void *>(uintptr_t(address)), 8);
            memcpy(&to.value[row_registers::upper + number],
                   reinterpret_cast<void *>(uintptr_t(address + 8)), 8);
        }

        uint64_t apply(row_registers &registers, unsigned sp, bool sp_is_cfa)
        {
            row_registers next = now;
            uint64_t cfa = cfa_expression ? evaluate(cfa_expression, nullptr)
                                          : uintptr_t(known(cfa_register) + uint64_t(cfa_offset));
            if (rules[sp].how == rule::same && sp_is_cfa)
                next.value[sp] = cfa;
            for (unsigned i = 0; i < row_registers::most && !wrong; i++) {
                const rule &r = rules[i];
                switch (r.how) {
                case rule::same: break;
                case rule::gone: next.value[i] = 0xdeaddeaddeaddead; break;
                case rule::at_offset: load(next, i, cfa + uint64_t(r.number)); break;
                case rule::in_register: next.value[i] = known(uint64_t(r.number)); break;
                case rule::at_expression: load(next, i, evaluate(r.expression, &cfa)); break;
                case rule::is_expression: next.value[i] = evaluate(r.expression, &cfa); break;
                }
            }
            registers = next;
            return cfa;
        }
    };
};
