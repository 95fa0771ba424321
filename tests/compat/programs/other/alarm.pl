# Perl's time-outs by alarm() jump out of a receive; the connection must work afterwards: alarm.pl HOST PORT hold|ask.
use strict;
use warnings;
use IO::Socket::INET;
use POSIX qw(SIGALRM);
$| = 1;

my ($host, $port, $kind) = @ARGV;
my $sock = IO::Socket::INET->new(PeerAddr => $host, PeerPort => $port, Timeout => 5) or die "connect: $@";

# Perl runs this handler at once, not between two of its operations: it leaves recv by a long jump.
sub unsafe_alarm {
    my $action = POSIX::SigAction->new(sub { die "time-out\n" }, POSIX::SigSet->new(), 0);
    $action->safe(0);
    POSIX::sigaction(SIGALRM, $action) or die "sigaction: $!";
}

sub read_line {
    my ($seconds) = @_;
    my ($line, $piece) = ("");
    eval {
        alarm $seconds;
        while ($line !~ /\n/) {
            my $got = sysread($sock, $piece, 4096);
            die "read: $!\n" unless defined $got;
            die "end of file\n" unless $got;
            $line .= $piece;
        }
        alarm 0;
    };
    alarm 0;
    return $@ ? (undef, $@) : ($line, "");
}

unsafe_alarm();
syswrite($sock, "0 first\n");
my ($line, $error) = read_line(5);
die "first answer: $error" unless defined $line && $line eq "first\n";
if ($kind eq "hold") {
    print "held\n";
    my $piece;
    while (sysread($sock, $piece, 4096)) { }
    exit 0;
}
for my $round (1 .. 3) {
    syswrite($sock, "1500 late $round\n");
    ($line, $error) = read_line(1);
    die "round $round: no time-out but '$line'\n" if defined $line;
    die "round $round: $error" unless $error eq "time-out\n";
    ($line, $error) = read_line(5);
    die "round $round: nothing after the time-out: $error" unless defined $line;
    die "round $round: '$line' after the time-out\n" unless $line eq "late $round\n";
}
print "all right\n";
