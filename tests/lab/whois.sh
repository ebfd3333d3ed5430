#!/bin/bash
# A whois server that swallows packets: the second attacker of the same jail is blocked all the same.
. "$(dirname "$(readlink -f "$0")")/check.sh"
S=/tmp/lab/srv; A=198.51.100.101; B=198.51.100.102
ip -n lab-good addr add 198.51.100.202/24 dev eth0 2>/dev/null
ip netns exec lab-good nft 'add table ip lab; add chain ip lab in { type filter hook input priority 0; }; flush chain ip lab in; add rule ip lab in ip daddr 198.51.100.202 tcp dport 43 drop'
cp $S/etc/hosts /tmp/lab/hosts.keep; for n in whois.arin.net whois.iana.org whois.apnic.net whois.ripe.net; do echo "198.51.100.202 $n"; done >> $S/etc/hosts
rm -rf /tmp/lab/over; cp -a subjects/fail2ban.d /tmp/lab/over; sed -i 's/^bantime .*/bantime = 600/' /tmp/lab/over/jail.local
rm -f $S/lib-f2b/fail2ban.sqlite3; : > $S/log/mail.log; ./lab subject start /tmp/lab/over >/dev/null
tries imap $A 5; w=$(until_ $A blocked) && ok "A blocked ${w% *}s after its 5th failure" || bad "A never blocked"
tries imap $B 5; w=$(until_ $B blocked) && ok "B blocked ${w% *}s after its 5th failure" || bad "B never blocked"
is "long before the whois of A is given up" "$(echo "${w% *} <= 20" | bc)" 1
cp /tmp/lab/hosts.keep $S/etc/hosts; t=$(now); ./lab subject stop >/dev/null; s=$(since $t); is "stop waits for no whois" "$(echo "${s%s} <= 40" | bc)" 1; echo "stop took $s"; finish
