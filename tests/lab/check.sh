# Checks that print PASS/FAIL lines and count them; sourced by the scenarios.
BIN=${BIN:-$(readlink -f "$(dirname "$(readlink -f "$0")")/../../target/debug")}; export BIN
cd "$(dirname "$(readlink -f "$0")")"; . ./topology.sh
F=0; P=0; now() { date +%s.%N; }; since() { printf '%.2fs' "$(echo "$(now) - $1" | bc)"; }
ok() { P=$((P+1)); echo "PASS $*"; }; bad() { F=$((F+1)); echo "FAIL $*"; }
is() { if [ "$2" = "$3" ]; then ok "$1: $2"; else bad "$1: got '$2', wanted '$3'"; fi; }
has() { if grep -qE -- "$3" <<<"$2"; then ok "$1"; else bad "$1 (no /$3/)"; fi; }
hasnt() { if grep -qE -- "$3" <<<"$2"; then bad "$1 (found /$3/)"; else ok "$1"; fi; }
until_() { ./lab probe "$1" --until "$2" --max 90 "${3:-143}"; }
when() { for _ in $(seq 600); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done; false; }      # waits until a command succeeds
past() { while [ "$(echo "$(now) > $1 + $2" | bc)" = 0 ]; do sleep 0.1; done; }                 # waits until so many seconds after a time
mailports="25=%s 465=%s 587=%s 110=%s 995=%s 143=%s 993=%s"
all() { printf "$mailports" $(for _ in 1 2 3 4 5 6 7; do echo $1; done); }
mp() { ./lab probe "$1" $MAILPORTS | cut -d" " -f2- | sed -E "s/=(refused|timeout)/=blocked/g"; }   # ICMP rejects are rate-limited by the kernel: a refused port may look like a timeout
tries() { ./lab attack --proto "$1" --src "$2" --n "$3" --stop-on-block "${@:4}" > /tmp/lab/a.json; }
failures() { grep -cE '"result": "(auth-failed|rejected)"' /tmp/lab/a.json; }
finish() { echo "$P passed, $F failed"; [ $F = 0 ]; }
