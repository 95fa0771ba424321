# Perl's DBI on MariaDB: a query that an alarm ends, a new connection, and right answers: dbi.pl HOST PORT hold|ask.
use strict;
use warnings;
use DBI;
use POSIX qw(SIGALRM);
$| = 1;

my ($host, $port, $kind) = @ARGV;

sub database {
    my $source = "DBI:mysql:database=test;host=$host;port=$port";
    return DBI->connect($source, "root", "", { RaiseError => 1, PrintError => 0 });
}

my $database = database();
if ($kind eq "hold") {
    print "held\n" if $database->selectrow_array("select 1") == 1;
    1 while $database->selectrow_array("select 1");
    exit 0;
}
for my $round (1 .. 3) {
    my $action = POSIX::SigAction->new(sub { die "time-out\n" }, POSIX::SigSet->new(), 0);
    $action->safe(0);
    POSIX::sigaction(SIGALRM, $action);
    eval { alarm 1; $database->selectrow_array("select sleep(3)"); alarm 0; };
    alarm 0;
    die "round $round: no time-out: $@\n" unless $@ =~ /time-out/;
    $database = database();
    my ($sum) = $database->selectrow_array("select sum(seq) from seq_1_to_1000");
    die "round $round: sum is $sum\n" unless $sum == 500500;
}
$database->do("create table if not exists compat (id int primary key, body longblob)");
for my $id (1 .. 20) {
    my $body = "$id;" x (20000 + $id);
    $database->do("replace into compat values (?, ?)", undef, $id, $body);
    my ($got) = $database->selectrow_array("select body from compat where id = ?", undef, $id);
    die "row $id came back wrong\n" unless $got eq $body;
}
print "all right\n";
