#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
#
# x86_64: what test/mutants.sh does to the port's assembly, one thing at a time.
#
#   mutants.pl FLAT             lists the mutants of a source that NASM has
#                               preprocessed: number, test that is tried first,
#                               what is changed, between tabs
#   mutants.pl FLAT NUMBER      prints the source with that change
#
# In a preprocessed source each use of a macro stands by itself. Changed are: each
# move of a register or a word, that is each save and each restore (left out); each
# pair of a context's slots, on the side that saves or the one that restores
# (exchanged); each frame description, each row and each rule of a row (left out);
# the kinds of frame; landing pads, notes, symbols; and some faults are added that
# leave nothing out.
use strict;
use warnings;

my ($path, $number) = @ARGV;
open my $in, '<', $path or die "$path: $!\n";
chomp(my @lines = <$in>);
close $in;

my @mutants; # [first test, what, {index => text}]
my ($file, $line, $step) = ($path, 0, 1);
my $place = $path; # the last line that is not one of the rows' macros
my ($function, $section, $frame) = ('', '', '');
my (%saves, %restores); # of a frame
my ($row_next, $cie) = (0, '');

sub mutant {
    my ($first, $what, %edits) = @_;
    my $where = $function ? " ($function)" : '';
    push @mutants, [$first, "$place: $what$where", {%edits}];
}
# What is likely to see a change of this function's code, and of its rows
sub code_first {
    # (a program's own stubs resume and pause without these bodies)
    return 'unwind_test test_stubs_mixed' if $function =~ /inline_pause/;
    return rows_first() if $function =~ /inline_resume/;
    return $function =~ /inline_\w+_rbx|return_rbx/ ? 'inline_torture_clang'
        : $function =~ /inline|stub/ ? 'inline_torture' : 'conformance_test';
}
sub rows_first {
    return $function =~ /_rbx/ ? 'unwind_test test_stubs_rbx'
        : $function =~ /inline|stub/ ? 'unwind_test test_stubs' : 'unwind_test';
}

my %register = (1 => 'rdx', 3 => 'rbx', 6 => 'rbp', 7 => 'rsp', 10 => 'r10', 12 => 'r12',
    13 => 'r13', 14 => 'r14', 15 => 'r15', 16 => 'return address');
sub named { return $register{$_[0]} || "register $_[0]"; }
my %operation = (0x08 => 'same_value', 0x09 => 'register', 0x0c => 'def_cfa', 0x0e => 'def_cfa_offset',
    0x0f => 'def_cfa_expression', 0x10 => 'expression', 0x16 => 'val_expression');
# One in words
sub described {
    my @bytes = @_;
    my $op = eval $bytes[0];
    return 'offset of ' . named($op & 63) if $op >> 6 == 2;
    return "$operation{$op} $bytes[1]" if $op == 0x0e;
    return $operation{$op} . ($op == 0x0f ? '' : ' of ' . named($bytes[1]));
}

# The operations of a row: [from, to] in its list of bytes.
sub operations {
    my @bytes = @_;
    my @found;
    for (my $at = 0; $at < @bytes;) {
        my $op = eval $bytes[$at];
        my $long = ($op >> 6) == 2 ? 2
            : $op == 0x0c || $op == 0x09 ? 3
            : $op == 0x08 || $op == 0x0e ? 2
            : $op == 0x0f ? 2 + eval $bytes[$at + 1]
            : $op == 0x10 || $op == 0x16 ? 3 + eval $bytes[$at + 2]
            : die "$place: unknown operation $bytes[$at]\n";
        push @found, [$at, $at + $long - 1];
        $at += $long;
    }
    return @found;
}

# Exchanges each pair of slots among the instructions noted of a frame.
sub exchange {
    my ($how, $noted) = @_;
    for my $base (sort keys %$noted) {
        my @all = @{$noted->{$base}};
        for my $i (0 .. $#all) {
            for my $j ($i + 1 .. $#all) {
                my ($a, $b) = ($all[$i], $all[$j]);
                next if $a->{slot} eq $b->{slot};
                (my $x = $lines[$a->{at}]) =~ s/\Q$a->{slot}\E\]/$b->{slot}]/;
                (my $y = $lines[$b->{at}]) =~ s/\Q$b->{slot}\E\]/$a->{slot}]/;
                mutant(code_first(),
                    "$how with slots $a->{slot} and $b->{slot} exchanged",
                    $a->{at} => $x, $b->{at} => $y);
            }
        }
    }
    %$noted = ();
}

# Faults that a test is to see though nothing is left out: after `after` in
# `function`.
my $constant = 0;
sub load_constant {
    my ($instruction, $value) = @_;
    my $label = '..@mutant_constant' . $constant++;
    return "[section .rodata]\n$label: dd $value\n[section .text]\n $instruction [$label]";
}
my @added = (
    ['context_make', 'endbr64', 'writes above the stack', 'mov [rsi], rdi'],
    ['context_make', 'endbr64', 'writes far below the frame', 'mov [rsi - 72], rdi'],
    ['context_make', 'endbr64', 'writes below the context', 'mov [rdi - 8], rsi'],
    ['context_make', 'endbr64', 'writes above the context', 'mov [rdi + 80], rsi'],
    ['context_switch', 'endbr64', 'writes below the context', 'mov [rdi - 8], rsi'],
    ['context_switch', 'endbr64', 'writes above the context', 'mov [rdi + 80], rsi'],
    ['context_switch', 'endbr64', 'writes above the next context', 'mov [rsi + 80], rsi'],
    ['context_switch', 'endbr64', 'writes below its stack', 'mov [rsp - 16], rsi'],
    ['context_switch', 'endbr64', 'writes above its stack', 'mov [rsp + 8], rsi'],
    ['context_switch', 'endbr64', 'sets the direction flag', 'std'],
    ['context_switch', 'endbr64', 'changes MXCSR', load_constant('ldmxcsr', '0x9f80')],
    ['context_switch', 'endbr64', 'changes the x87 control word', load_constant('fldcw', '0x67f')],
    ['context_jump', 'endbr64', 'sets the direction flag', 'std'],
    ['context_jump', 'endbr64', 'changes MXCSR', load_constant('ldmxcsr', '0x9f80')],
    ['context_start', 'mov rdi, [r10 + 40]', 'enters with the direction flag set', 'std'],
    ['context_start', 'mov rdi, [r10 + 40]', 'enters with a misaligned stack', 'push rdi'],
    ['jobswitch_pause_job', 'endbr64', 'changes MXCSR', load_constant('ldmxcsr', '0x9f80')],
    ['jobswitch_start_job', 'endbr64', 'changes the x87 control word', load_constant('fldcw', '0x67f')],
    ['jobswitch_start_job', 'endbr64', 'sets the direction flag', 'std'],
    ['jobswitch_start_job', 'endbr64', 'writes above its stack', 'mov [rsp + 8], rdi'],
);

for my $at (0 .. $#lines) {
    my $text = $lines[$at];
    if ($text =~ /^%line (\d+)\+(\d+) (.*)/) {
        ($line, $step, $file) = ($1 - $2, $2, $3);
        next;
    }
    $line += $step;
    $place = "$file:$line" if $file !~ /unwind/ || $function eq '';
    if ($text =~ /\[section ([\w.-]+)/) {
        $section = $1;
    } elsif ($text =~ /^\[global (\w+):function/) {
        $function = $1;
    }

    # ---- symbols and notes
    if ($text =~ /^\[global (\w+):function (hidden|default) \((.*)\)\]/) {
        my ($name, $visible, $size) = ($1, $2, $3);
        mutant('conformance_test', "size of 0", $at => "[global $name:function $visible]");
        mutant('conformance_test', "no function",
            $at => "[global $name:object $visible ($size)]");
        mutant('conformance_test', "other visibility",
            $at => "[global $name:function " . ($visible eq 'hidden' ? 'default' : 'hidden') .
                " ($size)]");
    }
    if ($text =~ /GNU-stack/) {
        $function = '';
        (my $other = $text) =~ s/noexec/exec/;
        mutant('conformance_test', 'an executable stack', $at => $other);
        mutant('conformance_test', 'no word of the stack', $at => '[section .comment]');
    }
    if ($text =~ /^ *dd 0xc0000002/) {
        $function = '';
        mutant('conformance_test', 'no mark for IBT', $at => ' dd 0xc0000002, 4, 0, 0');
    }

    # ---- rows
    if ($section eq '.eh_frame') {
        if ($text =~ /^(cie_\w+):/) {
            $cie = $1;
        } elsif ($cie && $text =~ /^\.end:/) {
            $cie = '';
        } elsif ($cie) {
            if ($text =~ /^ *db 0x0f, (\.cfa_end) - / || $text =~ /^ *db 0x10, 16, (\.ra_end) - /) {
                my ($end, %edits) = ($1);
                for (my $i = $at; $lines[$i] !~ /^\Q$end\E:/; $i++) {
                    $edits{$i} = '';
                }
                mutant('unwind_test', "$cie without the rule" . ($end eq '.ra_end' ? ' of the return address' : ' of the frame'), %edits);
            } elsif ($text =~ /^ *db ((?:0x0c|0x80|0x16|0x10)\b.*)/) {
                mutant('unwind_test', "$cie without " . described(split /, */, $1), $at => '');
            } elsif ($text =~ /"zPRS"/) {
                (my $other = $text) =~ s/S//;
                mutant('unwind_test', "$cie is no signal frame", $at => $other);
                ($other = $text) =~ s/P//;
                mutant('unwind_test', "$cie without a personality", $at => $other,
                    $at + 2 => '', $at + 3 => '');
            }
        } elsif ($text =~ /^ *dd \$ - cie_(\w+)/) {
            my $other = $1 eq 'plain' ? 'start' : 'plain';
            mutant(rows_first(), "a frame of kind $other", $at => " dd \$ - cie_$other");
            (my $none = $lines[$at + 2]) =~ s/dd .*/dd 0/;
            mutant(rows_first(), 'a frame without rows', $at + 2 => $none);
        } elsif ($text =~ /^ *dw \S+ - \S+$/ && $lines[$at - 1] =~ /db 0x03/) {
            $row_next = 1;
        } elsif ($row_next && $text =~ /^ *db (.*)/) {
            $row_next = 0;
            my @bytes = split /, */, $1;
            my @found = operations(@bytes);
            mutant(rows_first(), 'no row ' .
                    join(', ', map { described(@bytes[$_->[0] .. $_->[1]]) } @found),
                $at => ' db 0'); # a nop
            if (@found > 1) {
                for my $op (@found) {
                    my @rest = @bytes;
                    my @gone = splice @rest, $op->[0], $op->[1] - $op->[0] + 1;
                    mutant(rows_first(), 'a row without ' . described(@gone),
                        $at => ' db ' . join(', ', @rest));
                }
            }
        }
    }

    # ---- code
    if ($section eq '.text') {
        $frame = $1 if $text =~ /^(\S+)\.begin:/;
        if ($text =~ /^\S+\.end:/ && $frame) {
            exchange('saving', \%saves);
            exchange('restoring', \%restores);
            $frame = '';
        }
        my ($label, $code) = $text =~ /^ *([.\w@]+:)? *(.*)/;
        $label = '' unless defined $label;
        if ($code =~ /^(mov\w*|lea) +(.*)/) {
            mutant(code_first(), "no $code", $at => $label);
        } elsif ($code eq 'endbr64') {
            mutant('conformance_test', 'no landing pad', $at => "$label nop");
        }
        my $slot = qr/\[(fs:rax|r10|rdi|r12) \+ (\d+|\(80 \+ \d+\))\]/;
        if ($code =~ /^mov (?:qword )?$slot, (\w+)/ && $2 ne '72') {
            push @{$saves{$1}}, {at => $at, slot => $2};
        } elsif ($code =~ /^mov \w+, $slot/ || $code =~ /^(?:jmp|call) $slot/) {
            push @{$restores{$1}}, {at => $at, slot => $2} if $2 ne '72' && $1 eq 'r10';
        }
        for my $fault (@added) {
            my ($in, $after, $what, $new) = @$fault;
            mutant('conformance_test', $what, $at => "$text\n $new")
                if $in eq $function && $code eq $after;
        }
    }
}

if (defined $number) {
    my $edits = $mutants[$number - 1][2];
    print defined $edits->{$_} ? $edits->{$_} : $lines[$_], "\n" for 0 .. $#lines;
} else {
    for my $i (0 .. $#mutants) {
        print join("\t", $i + 1, @{$mutants[$i]}[0, 1]), "\n";
    }
}
