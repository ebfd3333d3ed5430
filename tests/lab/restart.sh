#!/bin/bash
# A restart under attack: nobody who is banned gets in, and what ended meanwhile is let in.
. "$(dirname "$(readlink -f "$0")")/check.sh"
S=/tmp/lab/srv; A=198.51.100.101; B=198.51.100.102; E=198.51.100.103
C_() { ./lab subject client "$@"; }
rm -rf /tmp/lab/over; cp -a subjects/fail2ban.d /tmp/lab/over; sed -i 's/^bantime .*/bantime = 600/' /tmp/lab/over/jail.local
rm -f $S/lib-f2b/fail2ban.sqlite3; ./lab subject start /tmp/lab/over >/dev/null
C_ set dovecot banip $A >/dev/null; C_ set postfix banip $B >/dev/null
until_ $A blocked >/dev/null && until_ $B blocked >/dev/null && ok "both are blocked" || bad "not blocked"
rules() { ./lab srv iptables -S; ./lab srv nft list table inet f2b-table | grep -v handle; }
rules > /tmp/lab/rules.before
rm -f /tmp/lab/knock.end; : > /tmp/lab/knock.out; ip netns exec lab-att1 /usr/bin/python3 ./knock.py /tmp/lab/knock.end $A $B > /tmp/lab/knock.out & knock=$!
when grep -q begun /tmp/lab/knock.out; for _ in 1 2 3; do C_ restart >/dev/null 2>&1; is "restarts" $? 0; done
known() { C_ get dovecot banip | grep -q $A; }; when known; touch /tmp/lab/knock.end; wait $knock
is "connections that passed" "$(tail -n 1 /tmp/lab/knock.out)" "0 passed"
rules > /tmp/lab/rules.after; diff /tmp/lab/rules.before /tmp/lab/rules.after && ok "the rules are the same" || bad "the rules differ"
has "the ban is known" "$(C_ status dovecot)" "$A"
C_ set dovecot bantime 12 >/dev/null; C_ set dovecot banip $E >/dev/null; short=$(now); until_ $E blocked >/dev/null && ok "a short ban" || bad "no short ban"
C_ stop --keep >/dev/null; past $short 12.2; ./lab subject start /tmp/lab/over >/dev/null
w=$(until_ $E open) && ok "it ended while no server ran, and is gone ($w)" || bad "an ended ban is still enforced"
until_ $A blocked >/dev/null && ok "the other goes on" || bad "a ban was lost"
C_ set dovecot unbanip $A >/dev/null; w=$(until_ $A open) && ok "unbanned: open ($w)" || bad "unban after a restart"
# A ban action that is another one after the restart: nothing of the old one stays.
sed -i 's/^banaction = iptables-multiport/banaction = iptables-allports/' /tmp/lab/over/jail.local
C_ set dovecot bantime 600 >/dev/null; C_ set dovecot banip $A >/dev/null; until_ $A blocked >/dev/null
C_ stop --keep >/dev/null; ./lab subject start /tmp/lab/over >/dev/null; until_ $A blocked >/dev/null && ok "blocked by the new action" || bad "not blocked"
when sh -c '! ./lab srv iptables -S INPUT | grep -q multiport'
is "rules of the old action" "$(./lab srv iptables -S INPUT | grep -c multiport)" 0
C_ stop >/dev/null; hasnt "a stop leaves nothing" "$(./lab srv iptables -S)" "f2b-"; finish
