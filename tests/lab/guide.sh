#!/bin/bash
# The guide, step by step, its files unchanged.  guide.sh debian|ours: appended to which jail.conf.
# The guide's 20 minutes are cut short the way its reader would: by `set JAIL bantime`.
. "$(dirname "$(readlink -f "$0")")/check.sh"
TREE=${1:-debian}; S=/tmp/lab/srv; A=198.51.100.101; B=198.51.100.102; C=198.51.100.103; G=198.51.100.201
C_() { ./lab subject client "$@"; }

echo "== 1 the guide's blocks appended to jail.conf ($TREE), its filters in filter.d"
rm -rf /tmp/lab/over; mkdir -p /tmp/lab/over/filter.d /tmp/lab/over/jail.d
case $TREE in
  debian) cat /etc/fail2ban/jail.conf guide/jail.conf.append > /tmp/lab/over/jail.conf;;
  ours) cp -r ../../config/. /tmp/lab/over/; cat ../../config/jail.conf guide/jail.conf.append > /tmp/lab/over/jail.conf;;
esac
cp guide/filter.d/* /tmp/lab/over/filter.d/
: > /tmp/lab/over/jail.d/defaults-debian.conf
./lab srv postconf -e anvil_status_update_time=600s; ./lab srv postfix reload 2>/dev/null      # its statistics lines count as failures in the guide's filter
ip netns exec lab-good /usr/bin/python3 ./whoisd.py $G </dev/null >/dev/null 2>&1 & W=$!
for n in arin iana apnic ripe afrinic lacnic; do echo "$G whois.$n.net whois.$n.org"; done >> $S/etc/hosts
./lab subject start /tmp/lab/over > /tmp/lab/start.out 2>&1; is "start" $? 0
t=$(C_ -t 2>&1); is "-t" $? 0; has "-t says OK" "$t" "OK: configuration test is successful"; has "-t warns, naming file and line" "$t" "WARNING.*jail.conf:[0-9]+.*dovecot"; hasnt "no error" "$t" "ERROR"
has "both jails run" "$(C_ status)" "dovecot, .*postfix"
echo "== 2 iptables -L"; chains() { l=$(./lab srv iptables -n -L); for j in "$@"; do has "chain of $j" "$l" "Chain f2b-$j"; done; }
[ "$TREE" = ours ] && chains dovecot postfix      # Debian's action makes the chain at the first ban
echo "== 3 SASL on SMTP: five failures"; tries smtp $A 4; is "after 4 failures still open" "$(./lab probe $A 25)" "$A 25=open"
tries smtp $A 1; w=$(until_ $A blocked 25); ok "blocked after the 5th ($w)"; chains postfix
is "attacker, all mail ports" "$(mp $A)" "$(all blocked)"; is "ssh and http stay open" "$(./lab probe $A 22 80)" "$A 22=open 80=open"; is "another host" "$(mp $G)" "$(all open)"
echo "== 4 the mail"; when grep -qs "whois answer for $A" $S/mail/kanrisha
m=$(./lab mbox 2>/dev/null); has "subject" "$m" "^Subject: .*postfix: banned $A"; has "the whois answer" "$m" "whois answer for $A"; has "addressed as the guide says" "$m" "^To: kanrisha@gmail.com"
echo "== 5 the ban ends after bantime"; C_ set postfix bantime 4 >/dev/null; w=$(until_ $A open 25); is "open again" $? 0; hasnt "rule gone" "$(./lab srv iptables -S)" "$A/32"; C_ set postfix bantime 1200 >/dev/null
echo "== 6 whitelist and restart ends a ban at once"; tries smtp $B 5; until_ $B blocked 25 >/dev/null && ok "banned" || bad "no ban for $B"
sed -i "s/^ignoreip = 127.0.0.1 .*/& $B/" $S/etc/fail2ban/jail.conf; 
./lab srv "$BIN/fail2ban-client" restart >/dev/null 2>&1 </dev/null; w=$(until_ $B open 25) && ok "open after restart ($w)" || bad "still blocked after restart"
tries smtp $B 6; is "and never banned again" "$(./lab probe $B 25)" "$B 25=open"
echo "== 7 auth_debug: the dovecot jail"; ./lab auth pam-debug; sleep 1; tries imap $C 8 --delay 0.2; w=$(until_ $C blocked) && ok "blocked ($w)" || bad "no ban for $C"
chains dovecot; is "attacker, all mail ports" "$(mp $C)" "$(all blocked)"; has "status lists it" "$(C_ status dovecot)" "Banned IP list:.*$C"
echo "== 8 fail2ban-regex"; r=$(./lab srv "$BIN/fail2ban-regex" /var/log/maillog /etc/fail2ban/filter.d/postfix.conf); is "exit" $? 0; has "matches" "$r" "^Lines: [0-9]+ lines, 0 ignored, [1-9][0-9]* matched"
echo "== 9 hosts.deny for ever"; rm -f $S/run/hosts.deny; touch $S/run/hosts.deny
cat > $S/etc/fail2ban/jail.local <<'J'
[postfix]
action = hostsdeny[file=/run/hosts.deny]
bantime = -1
J
C_ reload >/dev/null; is "reload" $? 0; D=198.51.100.122; tries smtp $D 5; when grep -qs $D $S/run/hosts.deny; is "hosts.deny" "$(grep -c "^ALL: $D\$" $S/run/hosts.deny)" 1
has "for ever" "$(C_ get postfix banip --with-time)" "$D.*-1"
echo "== 10 stop"; C_ stop >/dev/null; hasnt "no chains left" "$(./lab srv iptables -S)" "f2b-"
kill $W; finish
