#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
#
# mutants_elf.pl: shows that test/conformance_test proves a port that GNU as assembles.
# The linked test and the port's object are changed at one place at a time: an
# instruction becomes a nop, two registers change places on the way to memory or
# back, an unwind rule goes, a symbol or a note tells something else. The test has to
# fail each time: by what it says, by a crash, or by taking too long. A line for each, and how
# many were caught; exit code 0 if that is all of them.
#
# arch/<cpu>/mutants.rules has, a line each:
#
#   nop HEX            an instruction that does nothing, as it lies in memory; one for
#                      each length that instructions have
#   register REGEX HEX of instructions whose name is that, the bits (of the whole
#                      instruction as a number) that name the register which goes to
#                      memory or comes from there
#   pair REGEX A B N   of instructions that move two: exchange N bits at A with those at B
#
# What cannot be told apart from the unchanged program has a line in
# arch/<cpu>/mutants.same: the mutant's name, and after " # " the reason. A line that no
# mutant needs is a fault.
#
# Environment: BUILD, ARCH; OBJDUMP; EMULATOR, before the test; MUTANTS, only those in
# whose names it is found. Two run at a time.
use strict;
use warnings;
no warnings 'portable'; # of numbers above 32 bits
use File::Path qw(make_path);
use POSIX qw(:sys_wait_h);

my ($build, $arch) = ($ENV{BUILD}, $ENV{ARCH});
my $objdump = $ENV{OBJDUMP} || 'objdump';
my @emulator = split ' ', $ENV{EMULATOR} || '';
my $wanted = defined $ENV{MUTANTS} ? $ENV{MUTANTS} : '';
my $seconds = @emulator ? 20 : 5;
my $began = time;
$ENV{TEST_SCALE} = 10 if @emulator;

# ---- ELF files ------------------------------------------------------------------------

# {bytes, section => {name => {...}}, symbols => [...]}, for either width and order
sub elf_read {
    my ($path) = @_;
    open my $in, '<:raw', $path or die "$path: $!\n";
    my $bytes = do { local $/; <$in> };
    my $wide = ord(substr $bytes, 4, 1) == 2;
    my $e = ord(substr $bytes, 5, 1) == 2 ? '>' : '<';
    my $word = $wide ? "Q$e" : "L$e";
    my %elf = (path => $path, bytes => $bytes, wide => $wide, order => $e, sections => []);
    my ($sections_at) = unpack $word, substr $bytes, $wide ? 40 : 32, 8;
    my ($each, $count, $names) = unpack "S${e}3", substr $bytes, $wide ? 58 : 46, 6;
    for my $i (0 .. $count - 1) {
        my $at = $sections_at + $i * $each;
        my ($name, $type, $flags, $address, $offset, $size, $link) =
            unpack $wide ? "L${e}2Q${e}4L$e" : "L${e}7", substr $bytes, $at, $each;
        push @{$elf{sections}}, {name => $name, type => $type, address => $address,
            offset => $offset, size => $size, link => $link,
            flags_at => $at + 8, number => $i};
    }
    my $strings = $elf{sections}[$names];
    for my $s (@{$elf{sections}}) {
        $s->{name} = string_at(\%elf, $strings->{offset} + $s->{name});
    }
    for my $s (grep { $_->{type} == 2 } @{$elf{sections}}) {
        my $text = $elf{sections}[$s->{link}];
        my $bytes_each = $wide ? 24 : 16;
        for (my $at = $s->{offset}; $at < $s->{offset} + $s->{size}; $at += $bytes_each) {
            my ($name, $info, $other, $section, $value, $size);
            if ($wide) {
                ($name, $info, $other, $section, $value, $size) =
                    unpack "L${e}CCS${e}Q${e}2", substr $bytes, $at, 24;
            } else {
                ($name, $value, $size, $info, $other, $section) =
                    unpack "L${e}3CCS$e", substr $bytes, $at, 16;
            }
            push @{$elf{symbols}}, {name => string_at(\%elf, $text->{offset} + $name),
                type => $info & 15, info => $info, other => $other, section => $section,
                value => $value, size => $size, info_at => $at + ($wide ? 4 : 12),
                other_at => $at + ($wide ? 5 : 13), size_at => $at + ($wide ? 16 : 8),
                size_bytes => $wide ? 8 : 4};
        }
    }
    return \%elf;
}
sub string_at {
    my ($elf, $at) = @_;
    return substr $elf->{bytes}, $at, index($elf->{bytes}, "\0", $at) - $at;
}
sub section_of {
    my ($elf, $name) = @_;
    my ($found) = grep { $_->{name} eq $name } @{$elf->{sections}};
    return $found;
}
sub offset_of { # of an address, in the file
    my ($elf, $address) = @_;
    for my $s (@{$elf->{sections}}) {
        return $address - $s->{address} + $s->{offset}
            if $s->{address} && $s->{type} != 8 && $address >= $s->{address} &&
            $address < $s->{address} + $s->{size};
    }
    die sprintf "no section has %x\n", $address;
}

# ---- what there is ----------------------------------------------------------------------

my $test = elf_read("$build/test/conformance_test");
my $object = elf_read("$build/arch/$arch/context.S.o");
my (%nop, @register, @pair);
open my $rules, '<', "arch/$arch/mutants.rules" or die "arch/$arch/mutants.rules: $!\n";
while (<$rules>) {
    next if /^#/ || !/\S/;
    my ($kind, @words) = split;
    if ($kind eq 'nop') { my $n = pack 'H*', $words[0]; $nop{length $n} = $n; }
    elsif ($kind eq 'register') { push @register, [qr/^(?:$words[0])$/, hex $words[1]]; }
    elsif ($kind eq 'pair') { push @pair, [qr/^(?:$words[0])$/, @words[1 .. 3]]; }
    else { die "arch/$arch/mutants.rules: what is '$kind'?\n"; }
}
my %functions = map { $_->{name} => $_ } grep { $_->{type} == 2 && $_->{size} } @{$object->{symbols}};
my %in_test = map { $_->{name} => $_ } grep { $functions{$_->{name}} } @{$test->{symbols}};
die "a function is not in the test\n" if grep { !$in_test{$_} } keys %functions;
my @by_place = sort { $functions{$a}{value} <=> $functions{$b}{value} } keys %functions;

# [name, {offset in the test => bytes}, {offset in the object => bytes}]
my @mutants;
sub mutant { push @mutants, [@_]; }

# Of the test's code also the object's: that is looked at, too.
sub code_edit {
    my ($function, $distance, $bytes) = @_;
    my $f = $functions{$function};
    my $address = $in_test{$function}{value} & ~($arch eq 'arm' ? 1 : 0);
    my $in_object = $object->{sections}[$f->{section}]{offset} + ($f->{value} & ~($arch eq 'arm' ? 1 : 0));
    return ({offset_of($test, $address) + $distance => $bytes}, {$in_object + $distance => $bytes});
}
sub both {
    my (%test_edits, %object_edits);
    while (my ($t, $o) = splice @_, 0, 2) {
        %test_edits = (%test_edits, %$t);
        %object_edits = (%object_edits, %$o);
    }
    return (\%test_edits, \%object_edits);
}
sub number_of {
    my $text = $test->{order} eq '<' ? reverse $_[0] : $_[0];
    return hex unpack 'H*', $text;
}
sub bytes_of {
    my ($number, $length) = @_;
    my $text = pack 'H*', sprintf '%0*x', 2 * $length, $number;
    return $test->{order} eq '<' ? scalar reverse $text : $text;
}

# ---- instructions -------------------------------------------------------------------------

for my $name (@by_place) {
    my $f = $in_test{$name};
    my $low = $f->{value} & ~($arch eq 'arm' ? 1 : 0);
    my $high = $low + $f->{size};
    my @code;
    open my $list, '-|', $objdump, '-d', '-w', "--start-address=$low", "--stop-address=$high", $test->{path}
        or die "$objdump: $!\n";
    while (<$list>) {
        next unless /^\s*([0-9a-f]+):\t([0-9a-f ]+?)\s*\t(\S+)\s*((?:[^#;<@]|#(?=[-\d]))*)/;
        my ($address, $operation, $operands) = (hex $1, $3, $4);
        $operands =~ s/\s+$//;
        $operands =~ s/\b[0-9a-f]{4,}$//; # where a jump leads
        push @code, {at => $address - $low, operation => $operation, text => $operands eq '' ? $operation : "$operation $operands"};
    }
    close $list;
    for my $i (0 .. $#code) {
        my $c = $code[$i];
        $c->{length} = ($i < $#code ? $code[$i + 1]{at} : $high - $low) - $c->{at};
        $c->{bytes} = substr $test->{bytes}, offset_of($test, $low) + $c->{at}, $c->{length};
        my $nop = $nop{$c->{length}} or die "no nop of $c->{length} bytes, for $c->{text}\n";
        next if $c->{bytes} eq $nop || $c->{operation} =~ /^(nop|nopr|udf|trap)$/;
        mutant(sprintf('%s+0x%x: no %s', $name, $c->{at}, $c->{text}), code_edit($name, $c->{at}, $nop));
        for my $p (@pair) {
            my ($operation, $a, $b, $bits) = @$p;
            next unless $c->{operation} =~ $operation;
            my $n = number_of($c->{bytes});
            my $mask = (1 << $bits) - 1;
            my ($x, $y) = ($n >> $a & $mask, $n >> $b & $mask);
            next if $x == $y;
            my $new = $n & ~($mask << $a | $mask << $b) | $x << $b | $y << $a;
            mutant(sprintf('%s+0x%x: both registers exchanged of %s', $name, $c->{at}, $c->{text}),
                code_edit($name, $c->{at}, bytes_of($new, $c->{length})));
        }
    }
    # Of two that differ in their registers, and in what else, the registers change places.
    for my $i (0 .. $#code) {
        for my $r (@register) {
            my ($operation, $mask) = @$r;
            next unless $code[$i]{operation} =~ $operation;
            for my $j ($i + 1 .. $#code) {
                my ($x, $y) = @code[$i, $j];
                next unless $y->{operation} eq $x->{operation} && $x->{length} == $y->{length};
                next unless base_of($x) eq base_of($y);
                my ($n, $m) = (number_of($x->{bytes}), number_of($y->{bytes}));
                my $difference = ($n ^ $m) & $mask;
                next if !$difference || $n == $m;
                mutant("$name: registers exchanged of $x->{text} and $y->{text}",
                    both(code_edit($name, $x->{at}, bytes_of($n ^ $difference, $x->{length})),
                        code_edit($name, $y->{at}, bytes_of($m ^ $difference, $y->{length}))));
            }
        }
    }
}
# Where in memory an instruction goes, without the offset
sub base_of {
    my ($c) = @_;
    return $1 if $c->{text} =~ /\[(\w+)/;
    return $1 if $c->{text} =~ /\(([%\$\w]+)\)$/;
    return '';
}

# ---- rows -------------------------------------------------------------------------------

my ($bytes, $e) = ($test->{bytes}, $test->{order});
sub uleb { # at: value, where it ends
    my ($at) = @_;
    my ($value, $shift) = (0, 0);
    for (;;) {
        my $byte = ord substr $bytes, $at++, 1;
        $value |= ($byte & 127) << $shift;
        $shift += 7;
        return ($value, $at) unless $byte & 128;
    }
}
sub operations { # [where, how long, what] of rows
    my ($at, $end) = @_;
    my @found;
    while ($at < $end) {
        my $from = $at;
        my $op = ord substr $bytes, $at++, 1;
        my ($what, $n);
        my %of_register = (5 => 1, 6 => 0, 7 => 0, 8 => 0, 9 => 1, 0x0d => 0, 0x11 => 1, 0x12 => 1, 0x0c => 1);
        if ($op >> 6 == 1 || $op == 0) { next; }
        elsif ($op >> 6 == 2) { $what = 'offset of ' . ($op & 63); ($n, $at) = uleb($at); }
        elsif ($op >> 6 == 3) { $what = 'restore of ' . ($op & 63); }
        elsif ($op == 2 || $op == 3 || $op == 4) { $at += 1 << $op - 2; next; }
        elsif (exists $of_register{$op}) {
            ($n, $at) = uleb($at);
            $what = sprintf 'operation 0x%02x of %d', $op, $n;
            ($n, $at) = uleb($at) if $of_register{$op};
        } elsif ($op == 0x0e) { ($n, $at) = uleb($at); $what = "def_cfa_offset $n"; }
        elsif ($op == 0x0f) { ($n, $at) = uleb($at); $at += $n; $what = 'def_cfa_expression'; }
        elsif ($op == 0x10 || $op == 0x16) {
            my $register;
            ($register, $at) = uleb($at);
            ($n, $at) = uleb($at);
            $at += $n;
            $what = "expression of $register";
        } elsif ($op == 0x0a || $op == 0x0b || $op == 0x2d) { $what = sprintf 'operation 0x%02x', $op; }
        else { die sprintf "operation 0x%02x of rows is not known\n", $op; }
        push @found, [$from, $at - $from, $what];
    }
    return @found;
}

# What several descriptions have in common: how wide an address is, relative to its own
# place (undef: in another form), and where the letters S and P have theirs.
my %width_of = (0x0b => 4, 0x0c => 8, 0x03 => 4, 0x04 => 8, 0x00 => $test->{wide} ? 8 : 4);
sub common_of {
    my ($at) = @_;
    my $text = $at + 9;
    my $letters = string_at($test, $text);
    my %common = (width => undef, signal_at => $text + index($letters, 'S'));
    my $data = $text + length($letters) + 1;
    (undef, $data) = uleb($data) for 1 .. 4; # factors, return register, length
    for my $letter ($letters =~ /^z(.*)/ ? split(//, $1) : ()) {
        next if $letter eq 'S';
        my $form = ord substr $bytes, $data++, 1;
        $common{width} = $width_of{$form & 15} if $letter eq 'R' && ($form & 0x70) == 0x10;
        next unless $letter eq 'P';
        @common{'personality_at', 'personality_bytes'} = ($data, $width_of{$form & 15});
        $data += $common{personality_bytes};
    }
    return \%common;
}

# (Where the unwinder does not go by rows, what a debugger reads: there a CIE is told by its
# id, others have its distance from the start, and addresses as they are.)
my $for_debuggers = !section_of($test, '.eh_frame_hdr');
my $frames = section_of($test, $for_debuggers ? '.debug_frame' : '.eh_frame') or die "the test has no rows\n";
for (my $at = $frames->{offset}; $at < $frames->{offset} + $frames->{size};) {
    my $length = unpack "L$e", substr $bytes, $at, 4;
    last unless $length;
    my ($place, $end) = ($at + 4, $at + 4 + $length);
    $at = $end;
    my $id = unpack "L$e", substr $bytes, $place, 4;
    next if $id == ($for_debuggers ? 0xffffffff : 0);
    my ($here, $common) = ($place + 4, common_of($for_debuggers ? $frames->{offset} + $id : $place - $id));
    my $width = $for_debuggers ? $test->{wide} ? 8 : 4 : $common->{width} or next;
    my $address = unpack $width == 8 ? "q$e" : "l$e", substr $bytes, $here, $width;
    $address += $here - $frames->{offset} + $frames->{address} unless $for_debuggers;
    # (The start routine's begins with the nop before it.)
    my ($name) = grep { $address <= ($in_test{$_}{value} & ~1) && $address + 8 > ($in_test{$_}{value} & ~1) } @by_place;
    next unless $name;
    my ($more, $rows) = $for_debuggers ? (0, $here + 2 * $width) : uleb($here + 2 * $width);
    $rows += $more;
    my $of = "rows of $name";
    mutant("$of: none", {$here + $width => "\0" x $width}, {});
    my %times;
    for my $o (operations($rows, $end)) {
        my $time = ++$times{$o->[2]};
        mutant("$of: no $o->[2]" . ($time > 1 ? ", $time" : ''), {$o->[0] => "\0" x $o->[1]}, {});
    }
    next unless $name eq 'context_start';
    mutant("$of: no signal frame", {$common->{signal_at} => 'G'}, {});
    mutant("$of: no personality", {$common->{personality_at} => "\0" x $common->{personality_bytes}}, {})
        if $common->{personality_at};
}
for my $name (@by_place) {
    die "no rows of $name\n" unless grep { $_->[0] eq "rows of $name: none" } @mutants;
}

# ---- symbols and notes --------------------------------------------------------------------

for my $name (@by_place) {
    my $f = $functions{$name};
    mutant("$name: size of 0", {}, {$f->{size_at} => "\0" x $f->{size_bytes}});
    mutant("$name: no function", {}, {$f->{info_at} => chr($f->{info} & 0xf0 | 1)});
    mutant("$name: other visibility", {}, {$f->{other_at} => chr($f->{other} & ~3)});
}
my $stack = section_of($object, '.note.GNU-stack');
mutant('an executable stack', {}, {$stack->{flags_at} => $object->{wide} ? pack "Q$e", 4 : pack "L$e", 4});
if (my $note = section_of($object, '.note.gnu.property')) {
    mutant('no bits in the property note', {}, {$note->{offset} + 24 => "\0" x 4});
}

# ---- trying them ----------------------------------------------------------------------------

my $out = "$build/mutants";
my @own = grep { index($_->[0], $wanted) >= 0 } @mutants;
my (%seen, $double);
$seen{$_->[0]}++ and $double = $_->[0] for @mutants;
die "two mutants have the name: $double\n" if $double;

sub file_write {
    my ($path, $elf, $edits) = @_;
    my $text = $elf->{bytes};
    substr($text, $_, length $edits->{$_}) = $edits->{$_} for keys %$edits;
    die "no change\n" if %$edits && $text eq $elf->{bytes};
    open my $to, '>:raw', $path or die "$path: $!\n";
    print $to $text;
    close $to or die "$path: $!\n";
    chmod 0755, $path;
}
# What the test says in the place of a worker; undef: it passes.
sub verdict {
    my ($worker, $test_edits, $object_edits) = @_;
    my $place = "$out/$worker";
    make_path("$place/test", "$place/arch/$arch");
    file_write("$place/test/conformance_test", $test, $test_edits);
    file_write("$place/arch/$arch/context.S.o", $object, $object_edits);
    open my $said, '-|', 'sh', '-c', 'ulimit -c 0; exec "$@" 2>&1 </dev/null', 'sh', 'timeout', '-k', 1,
        $seconds, @emulator, "$place/test/conformance_test" or die "sh: $!\n";
    my $all = do { local $/; <$said> };
    close $said;
    return undef unless $?;
    return 'it does not end' if $? >> 8 == 124 || $? >> 8 == 137;
    return $1 if defined $all && $all =~ /^ERROR: (?:.*?first: )?(.*)/m;
    return 'it crashes';
}
my $whole = verdict('whole', {}, {});
die "conformance_test fails as it is: $whole\n" if defined $whole;

my %same;
if (open my $list, '<', "arch/$arch/mutants.same") {
    while (<$list>) {
        $same{$1} = $2 if !/^#/ && /^(.*?) # (.*)/;
    }
}
my ($caught, $missed, $equal) = (0, 0, 0);
my %needed;
my @workers = (0, 1);
my @pipes;
for my $worker (@workers) {
    my $pid = open my $from, '-|';
    die "fork: $!\n" unless defined $pid;
    if (!$pid) {
        $| = 1;
        for (my $i = $worker; $i < @own; $i += @workers) {
            my $said = verdict($worker, $own[$i][1], $own[$i][2]);
            print $i, "\t", defined $said ? "caught\t" . substr($said, 0, 140) : "missed\t", "\n";
        }
        exit 0;
    }
    push @pipes, $from;
}
my %result;
for my $from (@pipes) {
    while (<$from>) {
        chomp;
        my ($i, $how, $said) = split /\t/, $_, 3;
        $result{$i} = [$how, $said];
    }
    close $from;
}
for my $i (0 .. $#own) {
    my $name = $own[$i][0];
    my ($how, $said) = @{$result{$i} || ['missed', 'its worker ended']};
    if ($how eq 'caught') {
        $caught++;
        print "caught  $name: $said\n";
    } elsif (defined $same{$name}) {
        $equal++;
        $needed{$name} = 1;
        print "same    $name: $same{$name}\n";
    } else {
        $missed++;
        print "MISSED  $name\n";
    }
}
if ($wanted eq '') {
    for my $name (sort grep { !$needed{$_} } keys %same) {
        $missed++;
        print "FAULT   arch/$arch/mutants.same has a line that nothing needs: $name\n";
    }
}
printf "%d/%d caught, %d the same as before, in %d s\n", $caught, @own - $equal, $equal, time - $began;
exit($missed == 0 && $caught > 0 ? 0 : 1);
