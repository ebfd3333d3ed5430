# Subject: sekisho under fail2ban's names, with Debian's stock configuration (as subjects/fail2ban.sh).
# BIN is the folder that holds the built programs; it must be readable inside the server's namespace.
BIN=${BIN:-$LAB/../../target/debug}
lay_out() { # CONFDIR: its files are laid over a fresh copy of stock /etc/fail2ban
  find $S/etc/fail2ban -mindepth 1 -delete; cp -a /etc/fail2ban/. $S/etc/fail2ban/; cp -a "$1"/. $S/etc/fail2ban/
  mkdir -p $S/run/fail2ban
}
start_subject() { # CONFDIR defaults to subjects/fail2ban.d
  lay_out "${1:-$LAB/subjects/fail2ban.d}"
  srv env PATH=/usr/sbin:/usr/bin:/sbin:/bin "$BIN/fail2ban-client" start </dev/null || return
  echo "subject pid $(srv cat /run/fail2ban/fail2ban.pid)"
}
stop_subject() { srv "$BIN/fail2ban-client" stop; }
client() { srv "$BIN/fail2ban-client" "$@"; }
