#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
#
# What test/mutants_core.sh does to a C++ source, one thing at a time.
#
#   mutants_cpp.pl SOURCE           lists its mutants: number, test to try first or -, name,
#                                   between tabs
#   mutants_cpp.pl SOURCE NUMBER    prints the source with that change
#
# Changed are: comparisons (to the one that also holds, or no longer, where both sides are
# equal), && and ||, + and -, integer constants (one more), conditions (negated),
# statements and early returns (dropped), memory orders (each weaker one). The house's
# layout tells operators from templates and signs: a binary operator stands between blanks.
use strict;
use warnings;

my ($path, $number) = @ARGV;
open my $in, '<', $path or die "$path: $!\n";
my $source = do { local $/; <$in> };
close $in;

# The code alone: comments, strings and directives become blanks of the same length.
my $code = $source;
# (And calls that are hints to the processor: no test can see them.)
$code =~ s{(//[^\n]*|/\*.*?\*/|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|^\s*\#(?:[^\n\\]|\\.|\\\n)*|\bstatic_assert\([^;]*\)(?=;)|\balignas\(\w+\)|\b__builtin_prefetch\([^;]*;)}
          {(my $blank = $1) =~ s/[^\n]/ /g; $blank}gmse;

my @lines = split /\n/, $source;
my @function_of; # by line
{
    my $function = '';
    for my $i (0 .. $#lines) {
        # A definition begins at the left margin and has its brace there, too.
        $function = $1 if $lines[$i] =~ /^(?:\[\[[\w:]+\]\] )?[a-z].*?([A-Za-z_0-9]+)\(/ && $lines[$i] !~ /;\s*$/;
        $function_of[$i] = $lines[$i] =~ /^[ }]/ ? $function : '';
        $function_of[$i] = $function if $lines[$i] =~ /^[a-z].*\{.*\}\s*$/;
    }
}

my (@mutants, %used);
sub mutant {
    my ($at, $length, $text, $what, $first) = @_;
    my $index = (substr($source, 0, $at) =~ tr/\n//);
    (my $line = $lines[$index]) =~ s/^\s+|\s+$//g;
    $line =~ s{\s*//.*}{};
    my $name = "$what: $line" . ($function_of[$index] ? " ($function_of[$index])" : '');
    $name .= " ($used{$name})" if ++$used{$name} > 1;
    push @mutants, [$first // '-', $path . ':' . ($index + 1) . ": $name", $at, $length, $text];
}

# Where the bracket at a position closes.
sub closing {
    my ($at) = @_;
    my $depth = 0;
    for (my $i = $at; $i < length $code; $i++) {
        my $c = substr $code, $i, 1;
        $depth++ if $c =~ /[(\[{]/;
        $depth-- if $c =~ /[)\]}]/;
        return $i if !$depth;
    }
    die "$path: a bracket does not close\n";
}

# ---- operators and constants ---------------------------------------------------------

my %other = ('<' => '<=', '<=' => '<', '>' => '>=', '>=' => '>', '==' => '!=', '!=' => '==',
    '&&' => '||', '||' => '&&', '+' => '-', '-' => '+', '+=' => '-=', '-=' => '+=');
while ($code =~ /(?<=\s)(<=?|>=?|==|!=|&&|\|\||[-+]=?)(?=\s)/g) {
    mutant($-[1], length $1, $other{$1}, "$other{$1} for $1");
}
while ($code =~ /(\+\+|--)/g) {
    my $with = $1 eq '++' ? '--' : '++';
    mutant($-[1], 2, $with, "$with for $1");
}
while ($code =~ /(?<![\w.])(0x[0-9a-fA-F]+|\d+)(?=(?:[uU]?[lL]{0,2})\b)/g) {
    my ($at, $constant) = ($-[1], $1);
    my $more = $constant =~ /^0x/ ? sprintf('0x%x', hex($constant) + 1) : $constant + 1;
    mutant($at, length $constant, $more, "$more for $constant");
}

# ---- conditions ----------------------------------------------------------------------

while ($code =~ /\b(?:if|while) (\()/g) {
    my ($open, $close) = ($-[1], closing($-[1]));
    my $condition = substr $source, $open + 1, $close - $open - 1;
    if (substr($code, $open, $close - $open) =~ /^\((?:[\w:]+|auto)(?:<[^>]*>)? [*&]?(\w+) = /) {
        # A variable that is declared there
        mutant($close, 1, "; !$1)", 'a condition negated') if substr($code, $open - 3, 2) eq 'if';
    } else {
        mutant($open, $close - $open + 1, "(!($condition))", 'a condition negated');
    }
}

# ---- statements ----------------------------------------------------------------------

my $depth = 0; # of brackets that are not braces
my $begins = 0; # a statement may begin here
for (my $i = 0; $i < length $code; $i++) {
    my $c = substr $code, $i, 1;
    next if $c =~ /\s/;
    if ($begins && !$depth && $c =~ /[\w(*+-]/) {
        pos($code) = $i;
        statement($i, $1) if $code =~ /\G([^;]*;)/g;
    }
    $depth++ if $c =~ /[(\[]/;
    $depth-- if $c =~ /[)\]]/;
    $begins = $c =~ /[;{}]/ || ($c eq ')' && !$depth && head_ends($i)) ||
        substr($code, $i < 5 ? 0 : $i - 5, 7) =~ /\b(?:else|do)\s$/;
}

# Does the head of an if, a while or a for end here?
sub head_ends {
    my ($at) = @_;
    my $depth = 0;
    for (my $i = $at; $i >= 0; $i--) {
        my $c = substr $code, $i, 1;
        $depth++ if $c eq ')';
        $depth-- if $c eq '(';
        return substr($code, 0, $i) =~ /\b(?:if|while|for) $/ if !$depth;
    }
    return 0;
}

sub statement {
    my ($at, $text) = @_;
    my $index = (substr($code, 0, $at) =~ tr/\n//);
    return if !$function_of[$index] || ($text =~ tr/{//) != ($text =~ tr/}//);
    return if $text =~ /^(?:if|for|while|switch|do|else|case|default|using|struct|static|constexpr|const|auto|unsigned|extern)\b/;
    my ($indent) = $lines[$index] =~ /^( *)/;
    if ($text =~ /^return\b/) {
        # The one at the end of a function is all that there is.
        return if length $indent <= 4;
    } elsif ($text !~ /^(?:break|continue)\b/) {
        return if $text =~ /^[\w:]+(?:<[^=;]*>)? [*&]?\w+(?:\[[^\]]*\])?(?: =\s|[(,;{]| \{)/; # a declaration
        return if $text !~ /\(|=|\+\+|--/;
    }
    mutant($at, length $text, ';', 'dropped');
}

# ---- memory orders -------------------------------------------------------------------

my %weaker = (acq_rel => [qw(acquire release relaxed)], acquire => ['relaxed'], release => ['relaxed']);
pos($code) = 0;
while ($code =~ /(\w+)\(([^()]*(?:\([^()]*\)[^()]*)*?)std::memory_order_(\w+)/g) {
    my ($call, $order, $at) = ($1, $3, $-[3]);
    my @to = $order eq 'seq_cst' ? ($call eq 'load' ? 'acquire' : $call eq 'store' ? 'release' : 'acq_rel')
        : @{$weaker{$order} // []};
    mutant($at, length $order, $_, "$_ for $order", 'weak_memory_test') for @to;
}
while ($code =~ /\.load\((\))/g) {
    mutant($-[1], 0, 'std::memory_order_relaxed', 'relaxed for seq_cst', 'weak_memory_test');
}

# ---- out -----------------------------------------------------------------------------

if (!defined $number) {
    print "$_\t$mutants[$_][0]\t$mutants[$_][1]\n" for 0 .. $#mutants;
} else {
    my (undef, undef, $at, $length, $text) = @{$mutants[$number] // die "no mutant $number\n"};
    substr($source, $at, $length) = $text;
    print $source;
}
