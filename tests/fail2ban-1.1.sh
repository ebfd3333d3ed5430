#!/usr/bin/env bash
# Unpacks Debian's fail2ban 1.1 (of the next release) into a folder, where tests find it beside the
# installed 1.0.2; nothing is installed. Needs apt and Debian's keyring.
set -euo pipefail
to=${1:-$(dirname "$(readlink -f "$0")")/../target/fail2ban-1.1}
[ -e "$to/usr/bin/fail2ban-client" ] && exit 0
apt=$(mktemp -d)
trap 'rm -rf "$apt"' EXIT
chmod 755 "$apt"
mkdir -p "$apt"/{lists/partial,archives/partial,parts} "$to"
# The same archive as this machine's, another suite.
uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | sort -u | grep -v security | head -n 1)
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri trixie main" > "$apt/sources.list"
options=(-qq -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts="$apt/parts"
  -o Dir::State::lists="$apt/lists" -o Dir::Cache="$apt" -o APT::Sandbox::User=root)
apt-get "${options[@]}" update
(cd "$apt" && apt-get "${options[@]}" download fail2ban)
dpkg-deb -x "$apt"/fail2ban_1.1*.deb "$to"
