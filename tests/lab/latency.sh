#!/bin/bash
# Latency from the log line to the rule, 20 bans; p95 must be at most 0.1 s.
. "$(dirname "$(readlink -f "$0")")/check.sh"
rm -rf /tmp/lab/over; cp -a subjects/fail2ban.d /tmp/lab/over; sed -i 's/^bantime .*/bantime = 600/' /tmp/lab/over/jail.local
: > /tmp/lab/srv/log/mail.log; rm -f /tmp/lab/srv/lib-f2b/fail2ban.sqlite3; ./lab subject start /tmp/lab/over >/dev/null
./lab subject client set dovecot banip 192.0.2.250 >/dev/null; sleep 1      # the chain of an on-demand action exists
cp latency.py /tmp/lab/srv/run/latency.py; r=$(./lab srv /usr/bin/python3 /run/latency.py /var/log/mail.log f2b-dovecot 20); echo "$r"
p95=$(sed -E 's/.*p95 ([0-9]+) ms.*/\1/' <<<"$r"); is "p95 at most 100 ms" "$((p95 <= 100))" 1
./lab subject stop >/dev/null; finish
