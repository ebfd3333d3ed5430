#!/bin/bash
# kill -9, then start: it starts; database and kernel agree; a ban that ran out meanwhile is gone.
. "$(dirname "$(readlink -f "$0")")/check.sh"
S=/tmp/lab/srv; A=198.51.100.101; B=198.51.100.102; E=198.51.100.103; KEEP="env KEEP_CONF=1"
C_() { ./lab subject client "$@"; }
enforced() { ./lab srv iptables -S f2b-dovecot | grep -q -- "$1/32"; }
rm -rf /tmp/lab/over; cp -a subjects/fail2ban.d /tmp/lab/over; sed -i 's/^bantime .*/bantime = 600/' /tmp/lab/over/jail.local
sed -i "s/^banaction = nftables-multiport/banaction = hostsdeny[file=\/run\/hosts.deny]/" /tmp/lab/over/jail.local
: > $S/run/hosts.deny; ./lab subject start /tmp/lab/over >/dev/null
for round in 1 2 3; do
  echo "== round $round"
  C_ set dovecot bantime 12 >/dev/null; C_ set dovecot banip $A >/dev/null; short=$(now); until_ $A blocked >/dev/null && ok "short ban in the kernel" || bad "short ban"
  C_ set dovecot bantime 600 >/dev/null; C_ set dovecot banip $B >/dev/null; C_ set postfix banip $B >/dev/null; until_ $B blocked >/dev/null && ok "long ban in the kernel" || bad "long ban"
  C_ set sshd banip $E >/dev/null
  [ $round = 3 ] && { tries imap $E 4; for _ in 1 2 3; do C_ set dovecot banip 192.0.2.$((RANDOM % 200 + 1)) >/dev/null & done; }
  ./lab srv pkill -9 -f 'fail2ban-server|fail2ban-client|sekisho' ; sleep 0.2; has "the socket is left behind" "$(ls $S/run/fail2ban)" "fail2ban.sock"
  past $short 12.2
  ./lab subject start /tmp/lab/over >/dev/null 2>&1; is "starts" $? 0
  w=$(until_ $A open) && ok "the ban that ran out is gone ($w)" || bad "expired ban still enforced"
  # By both jails, each with an action of its own; in the chain it is the last one.
  until_ $B blocked >/dev/null && when enforced $B && ok "the other is enforced" || bad "long ban lost"
  is "once" "$(./lab srv iptables -S f2b-dovecot | grep -c -- "$B/32")" 1
  db=$(./lab srv "$BIN/fail2ban-client" get dovecot banip | tr ' ' '\n' | grep -v '^$' | sort); k=$(./lab srv iptables -S f2b-dovecot | sed -nE 's/.*-s ([0-9.]+)\/32.*/\1/p' | sort)
  is "server and kernel agree" "$(echo $db)" "$(echo $k)"
  rows=$(/usr/bin/python3 - $S/lib-f2b/fail2ban.sqlite3 <<'P'
import sqlite3, sys, time
db = sqlite3.connect("file:%s?mode=ro" % sys.argv[1], uri=True)
print(" ".join(sorted(r[0] for r in db.execute("select ip from bips where jail='dovecot' and (bantime < 0 or timeofban + bantime > ?)", (time.time(),)))))
P
); is "database and kernel agree" "$rows" "$(echo $k)"
  when grep -q "$E\$" $S/run/hosts.deny; is "hosts.deny has it once" "$(grep -c "$E\$" $S/run/hosts.deny)" 1
done
C_ stop >/dev/null; finish
