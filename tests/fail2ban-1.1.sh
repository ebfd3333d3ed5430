#!/usr/bin/env bash
# Unpacks Debian's fail2ban 1.1.0 (of Debian 13) and 1.1.1 (of its testing) into folders, where tests
# find them beside the installed 1.0.2; nothing is installed. Needs apt and Debian's keyring.
set -euo pipefail
to=${1:-$(dirname "$(readlink -f "$0")")/../target}
# The same archive as this machine's, other suites.
uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | sort -u | grep -v security | head -n 1)
apt=$(mktemp -d)
trap 'rm -rf "$apt"' EXIT
chmod 755 "$apt"
unpack() { # SUITE FOLDER
  [ -e "$2/usr/bin/fail2ban-client" ] && return
  local at=$apt/$1
  mkdir -p "$at"/{lists/partial,archives/partial,parts} "$2"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $1 main" > "$at/sources.list"
  local options=(-qq -o Dir::Etc::sourcelist="$at/sources.list" -o Dir::Etc::sourceparts="$at/parts"
    -o Dir::State::lists="$at/lists" -o Dir::Cache="$at" -o APT::Sandbox::User=root)
  apt-get "${options[@]}" update
  (cd "$at" && apt-get "${options[@]}" download fail2ban)
  dpkg-deb -x "$at"/fail2ban_*.deb "$2"
}
unpack trixie "$to/fail2ban-1.1"
unpack testing "$to/fail2ban-1.1.1"
