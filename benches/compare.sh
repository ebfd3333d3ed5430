#!/bin/bash
# Compares sekisho with the peers that are installed here: matching, start-up, memory, restore.
#
# usage: benches/compare.sh [LINES [BANS]]     (200,000 lines of log, 2,000 bans)
#
# Prints one table in Markdown. Everything happens in a temporary folder: configuration, sockets,
# databases, logs. The actions append a line to a file there; no firewall is ever touched. Servers of
# this machine are neither asked nor stopped. Figures are of one machine and one run: say which.
set -u
lines=${1:-200000} bans=${2:-2000}
root=$(cd "$(dirname "$0")/.." && pwd)
began=$EPOCHREALTIME
work=$(mktemp -d)
pids=()
cleanup() { for p in "${pids[@]:-}"; do [ -n "$p" ] && kill "$p" 2>/dev/null; done; rm -rf "$work"; }
trap cleanup EXIT
die() { echo "compare: $*" >&2; exit 1; }
since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.3f\n", b - a }'; }
median() { sort -n | awk '{ a[NR] = $1 } END { print a[int((NR + 1) / 2)] }'; }

cd "$root" || exit 1
cargo build -q --release -p sekisho --bin sekisho --example match_bench || die "the build failed"
bin=${CARGO_TARGET_DIR:-$root/target}/release
ln -s "$bin/sekisho" "$work/fail2ban-client"
client_sekisho=("$work/fail2ban-client")
client_fail2ban=(/usr/bin/python3 /usr/bin/fail2ban-client)
subjects=(sekisho)
version=
if [ -x /usr/bin/fail2ban-client ] && version=$("${client_fail2ban[@]}" -V 2>/dev/null); then
  subjects+=(fail2ban)
else
  echo "fail2ban is not installed: nothing to compare with" >&2
fi
for peer in crowdsec sshguard reaction; do
  command -v "$peer" >/dev/null && echo "$peer is installed, but has no filters for this log: not compared" >&2
done

# CPU seconds (user and system) of a command; its output goes to $work/out.
cpu() {
  local TIMEFORMAT='%U %S'
  { time "$@" >"$work/out" 2>"$work/err"; } 2>&1 | awk '{ printf "%.3f", $1 + $2 }'
}
row() { printf '| %s | %s | %s | %s |\n' "$1" "$2" "$3" "$4"; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { if (a > 0 && b > 0) printf "%.1f ×", a / b; else print "–" }'; }
whole() { awk -v n="$1" 'BEGIN { printf "%d", n }'; }

echo "$(uname -m), $(nproc) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1); sekisho $("$bin/sekisho" --version | cut -d' ' -f2)${version:+, fail2ban $version}"
echo
row "" sekisho "fail2ban${version:+ $version}" ratio
row --- --- --- ---

# (a) Matching: the same log, the same filters.
"$bin/examples/match_bench" gen "$lines" 8 >"$work/mail.log" || die "no log"
conf=/etc/fail2ban
[ -e $conf/filter.d/postfix.conf ] || conf=$root/config
for filter in dovecot 'postfix[mode=aggressive]'; do
  ours=$(cpu "$bin/examples/match_bench" run "$work/mail.log" "$conf" "$filter")
  found=$(sed -nE 's/.*: ([0-9]+) failures$/\1/p' "$work/out")
  ours=$(awk -v n="$lines" -v t="$ours" 'BEGIN { print n / (t > 0 ? t : 0.001) }')
  theirs=0 shown=–
  if [ -n "$version" ]; then
    # It stops at the first pattern that matches, as its server does.
    theirs=$(cpu /usr/bin/python3 /usr/bin/fail2ban-regex --no-check-all --print-no-missed "$work/mail.log" "$filter")
    matched=$(sed -nE 's/^Lines: .* ([0-9]+) matched.*/\1/p' "$work/out")
    [ "$matched" = "$found" ] || echo "$filter: sekisho found $found, fail2ban $matched" >&2
    theirs=$(awk -v n="$lines" -v t="$theirs" 'BEGIN { print n / t }')
    shown=$(whole "$theirs")
  fi
  row "$filter: lines per CPU second ($lines lines, $found failures)" "$(whole "$ours")" "$shown" "$(ratio "$ours" "$theirs")"
done

# A configuration of two jails for one subject, in $work/SUBJECT.
site() {
  local dir=$work/$1
  mkdir -p "$dir/conf/filter.d" "$dir/conf/action.d"
  : >"$dir/mail"
  : >"$dir/done"
  # fail2ban of today does not take the group `host` of these old filters for an id.
  for f in dovecot postfix; do
    sed 's/(?P<host>\\S\*)/<HOST>/' "$root/tests/lab/guide/filter.d/$f.conf" >"$dir/conf/filter.d/$f.conf"
  done
  cat >"$dir/conf/fail2ban.conf" <<END
[Definition]
loglevel = INFO
logtarget = $dir/log
syslogsocket = auto
socket = $dir/sock
pidfile = $dir/pid
allowipv6 = auto
dbfile = $dir/db
dbpurgeage = 1d
END
  cat >"$dir/conf/jail.conf" <<END
[DEFAULT]
enabled = true
backend = auto
usedns = no
bantime = 1d
findtime = 20m
maxretry = 5
logpath = $dir/mail
filter = %(__name__)s
action = record
[dovecot]
[postfix]
END
  cat >"$dir/conf/action.d/record.conf" <<END
[Definition]
actionban = echo >>$dir/done
actionunban = true
actionflush = true
END
}
client() {
  local dir=$work/$1 name="client_$1[@]"
  shift
  "${!name}" -c "$dir/conf" -s "$dir/sock" -p "$dir/pid" "$@"
}
# Starts a subject; prints how long that took.
start() {
  local at=$EPOCHREALTIME
  client "$1" start >"$work/out" 2>&1 || { cat "$work/out" >&2; die "$1 does not start"; }
  since "$at"
}
stop() {
  local pid
  pid=$(<"$work/$1/pid")
  client "$1" stop >/dev/null 2>&1
  while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
}
enforced() { wc -l <"$work/$1/done"; }

# (b) Start-up until the client says that it is ready, and what is resident two seconds later.
declare -A up rss restore
for s in "${subjects[@]}"; do
  site "$s"
  for _ in 1 2 3; do
    start "$s" >>"$work/$s/times"
    pids+=("$(<"$work/$s/pid")")
    sleep 2
    sed -nE 's/^VmRSS:\s+([0-9]+) kB/\1/p' "/proc/$(<"$work/$s/pid")/status" >>"$work/$s/sizes"
    stop "$s"
  done
  up[$s]=$(median <"$work/$s/times")
  rss[$s]=$(awk -v k="$(median <"$work/$s/sizes")" 'BEGIN { printf "%.1f", k / 1024 }')
done
row "start until ready, two jails (s)" "${up[sekisho]}" "${up[fail2ban]:-–}" "$(ratio "${up[fail2ban]:-0}" "${up[sekisho]}")"
row "resident, two jails, empty log (MiB)" "${rss[sekisho]}" "${rss[fail2ban]:-–}" "$(ratio "${rss[fail2ban]:-0}" "${rss[sekisho]}")"

# (c) Restore: from the start to the moment when the last command of the last ban has run.
for s in "${subjects[@]}"; do
  start "$s" >/dev/null
  pids+=("$(<"$work/$s/pid")")
  for ((i = 0; i < bans; i += 500)); do
    ids=()
    for ((j = i; j < bans && j < i + 500; j++)); do ids+=("10.$((j >> 16 & 255)).$((j >> 8 & 255)).$((j & 255))"); done
    client "$s" set dovecot banip "${ids[@]}" >/dev/null
  done
  for ((i = 0; i < 3000 && $(enforced "$s") < bans; i++)); do sleep 0.1; done
  [ "$(enforced "$s")" = "$bans" ] || die "$s enforced $(enforced "$s") of $bans bans"
  stop "$s"
  : >"$work/$s/done"
  at=$EPOCHREALTIME
  start "$s" >/dev/null
  pids+=("$(<"$work/$s/pid")")
  for ((i = 0; i < 15000 && $(enforced "$s") < bans; i++)); do sleep 0.02; done
  restore[$s]=$(since "$at")
  [ "$(enforced "$s")" = "$bans" ] || die "$s restored $(enforced "$s") of $bans bans"
  stop "$s"
done
row "restore of $bans bans, all enforced (s)" "${restore[sekisho]}" "${restore[fail2ban]:-–}" "$(ratio "${restore[fail2ban]:-0}" "${restore[sekisho]}")"

echo
awk -v s="$(since "$began")" 'BEGIN { printf "minutes used: %.1f\n", s / 60 }'
