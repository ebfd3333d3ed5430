#!/bin/sh
# Stands in for every program that an action may call: writes down how it was called and what it was
# given to read, then answers as the real one might. Linked under the programs' names.
# Only what the shell has built in is used where possible: it runs tens of thousands of times.
d=${0%/bin/*} p=${0##*/}
read -r variant jail <"$d/variant"

# What reads standard input does so first: so it comes after what feeds it through a pipe.
case $p in
apprise | ipf | mail | nsupdate | sendmail) input=1 ;;
pfctl) case "$*" in *-f-*) input=1 ;; *) input= ;; esac ;;
*) input= ;;
esac
[ -z "$input" ] || { text=$(cat; echo .); text=${text%.}; }

# The number of this call within the step, and what a step wants of some of them.
n=0
[ ! -e "$d/count" ] || read -r n <"$d/count"
n=$((n + 1))
echo "$n" >"$d/count"
{
	printf '%s' "$p"
	for a; do printf ' [%s]' "$a"; done
	[ -z "$input" ] || printf ' <<%s>>' "$text"
	printf '\036\n'
} >>"$d/record"
if [ -e "$d/trouble" ]; then
	read -r fails hangs <"$d/trouble"
	case ",$fails," in *",$n,"* | *,all,*) exit 1 ;; esac
	case ",$hangs," in *",$n,"*) exec /bin/sleep 60 ;; esac
fi

case $p/$variant in
apprise/* | mail/* | sendmail/*) ;;
curl/A)
	case "$*" in
	*'-X GET'*) echo '{"result":[{"id":"abc123","mode":"block"}],"success":true}' ;;
	esac
	;;
curl/B) case "$*" in *'-X GET'*) echo '{"result":[],"success":true}' ;; esac ;;
date/*)
	case "$*" in
	+%z) echo +0130 ;;
	+%s) echo 4000000007 ;;
	+Note*) echo 'Note: Local timezone is +0130 (TST)' ;;
	*) echo 'Fri, 01 Oct 2096 07:06:40 +0130' ;;
	esac
	;;
dig/A) echo '"abuse@example.org,noc@example.org"' ;;
firewall-cmd/A) case "$*" in *--get-chains*) echo "INPUT_direct f2b-$jail f2b-other" ;; esac ;;
geoiplookup/*) echo 'GeoIP Country Edition: XX, Nowhere' ;;
hostname/* | uname/*) echo host.example ;;
id/A) echo 0 ;;
id/B) echo 1000 ;;
ip/*) case "$*" in *addr*) echo '    inet 192.0.2.200/24 brd 192.0.2.255 scope global eth0' ;; esac ;;
ipfw/A)
	case "$*" in
	*show*) echo '00111 0 0 allow ip from any to any' ;;
	*list*) echo '00112 unreach port tcp from 192.0.2.1 to 127.0.0.1' ;;
	esac
	;;
ipfw/B)
	case "$*" in
	*table*) echo 'record already exists; record not found'; exit 1 ;;
	*show*) echo '00111 0 0 deny ip from table(1) to me' ;;
	*list*) echo '10112 set 10 unreach port log tcp from 192.0.2.1 to me' ;;
	esac
	;;
ipset/B) case "$*" in *test* | *list*) exit 1 ;; esac ;;
nft/A)
	case "$*" in
	*'list chain'*)
		for set in addr-set addr6-set; do
			echo "		tcp dport { 22 } ip saddr @$set-$jail drop # handle 7"
			echo "		udp dport { 22 } ip saddr @$set-$jail drop # handle 8"
		done
		;;
	*'list table'*) echo "	set addr-set-other {" ;;
	esac
	;;
nginx/B) exit 1 ;;
pfctl/A) case "$*" in *-sr*) echo "block drop quick proto tcp from <f2b-$jail> to any"; echo 'pass all' ;; esac ;;
ufw/B) case "$*" in *'app info'*) exit 1 ;; esac ;;
wget/A) echo 'Attack Report Insert Successful' ;;
wget/B) echo 'no' ;;
whois/*) printf 'whois of %s\n  "quoted" %%s $(id) `id`\n' "$*" ;;
esac
exit 0
