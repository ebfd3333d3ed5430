# Subject: sekisho as its systemd unit confines it: its capabilities, no new privileges, a read-only
# system.  systemd is no process 1 here, so the unit's own words are read and done by hand; its system
# call filter is left out.
. "$LAB/subjects/sekisho.sh"
UNIT=$LAB/../../packaging/systemd/fail2ban.service
unit() { sed -n "s/^$1=//p" "$UNIT"; }
start_subject() {
  lay_out "${1:-$LAB/subjects/fail2ban.d}"
  local caps; caps=$(unit CapabilityBoundingSet | sed 's/CAP_/+/g; s/ /,/g' | tr A-Z a-z)
  [ "$(unit NoNewPrivileges) $(unit ProtectSystem) $(unit ProtectHome) $(unit ProtectKernelTunables)" = "yes yes read-only yes" ] ||
    { echo "the unit confines otherwise than this script does" >&2; return 1; }
  # /bin and its siblings are links into /usr.
  srv unshare --mount bash -ec '
    for dir in /usr /home /root /proc/sys /sys; do mount --bind $dir $dir; mount -o remount,bind,ro $dir; done
    umask "$0"; caps=$1; shift
    exec setpriv --no-new-privs --bounding-set "-all,$caps" --inh-caps=-all "$@"' \
    "$(unit UMask)" "$caps" env PATH=/usr/sbin:/usr/bin:/sbin:/bin "$BIN/fail2ban-client" start </dev/null || return
  local pid; pid=$(srv cat /run/fail2ban/fail2ban.pid)
  srv grep -q '^NoNewPrivs:.1' "/proc/$pid/status" && ! srv grep -q '^CapBnd:.*ffffffff' "/proc/$pid/status" ||
    { echo "not confined" >&2; return 1; }
  echo "subject pid $pid"
}
