#!/bin/bash
# How long the control socket takes to answer while 200 clients are connected, one of which has sent
# half a request and waits; and how long a ban takes meanwhile.
#
# usage: benches/clients.sh [CLIENTS [ROUNDS]]     (200 clients, 50 rounds)
#
# Prints one table in Markdown, of sekisho and of fail2ban where that is installed. Everything happens
# in a temporary folder; the action appends a line to a file there.
set -u
clients=${1:-200} rounds=${2:-50}
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$root" || exit 1
cargo build -q --release -p sekisho --bin sekisho || exit 1
ln -s "${CARGO_TARGET_DIR:-$root/target}/release/sekisho" "$work/fail2ban-client"

tree() { # FOLDER
  mkdir -p "$1"/conf/{filter.d,action.d}
  : > "$1/web.log"
  cat > "$1/conf/fail2ban.conf" <<END
[Definition]
loglevel = INFO
logtarget = $1/server.log
syslogsocket = auto
socket = $1/socket
pidfile = $1/pid
dbfile = $1/db.sqlite
dbpurgeage = 1d
allowipv6 = auto
END
  cat > "$1/conf/jail.conf" <<END
[web]
enabled = true
backend = pyinotify
usedns = no
ignoreself = false
maxretry = 1
filter = word
logpath = $1/web.log
action = note
END
  printf '[Definition]\nfailregex = ^\\s*fail <HOST>$\n' > "$1/conf/filter.d/word.conf"
  printf '[Definition]\nactionban = echo <ip> >> %s/acts\nactionunban = true\n' "$1" > "$1/conf/action.d/note.conf"
}

measure() { # FOLDER
  python3 - "$1" "$clients" "$rounds" <<'END'
import os, pickle, random, selectors, socket, sys, time
folder, clients, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
END = b'<F2B_END_COMMAND>'
status = pickle.dumps(['status', 'web'], 2) + END

def connect():
    one = socket.socket(socket.AF_UNIX)
    one.connect(folder + '/socket')
    return one

def ask_all(crowd, spread):
    """Every client asks once within `spread` seconds; how long each waits."""
    ready, waits, open_ = selectors.DefaultSelector(), [], {}
    due = sorted((random.uniform(0, spread), i) for i in range(len(crowd)))
    begin = time.perf_counter()
    while due or open_:
        now = time.perf_counter()
        while due and due[0][0] <= now - begin:
            one = crowd[due.pop(0)[1]]
            open_[one] = [time.perf_counter(), b'']
            one.sendall(status)
            ready.register(one, selectors.EVENT_READ)
        left = due[0][0] - (time.perf_counter() - begin) if due else 5
        for key, _ in ready.select(max(0, left)):
            entry = open_[key.fileobj]
            entry[1] += key.fileobj.recv(65536)
            if entry[1].endswith(END):
                waits.append(time.perf_counter() - entry[0])
                ready.unregister(key.fileobj)
                del open_[key.fileobj]
    return waits

def bans(count, between, first):
    """How long it takes from a line in the log to the action's line."""
    took = []
    for i in range(count):
        ip = '192.0.2.%d' % (first + i)
        between()
        begin = time.perf_counter()
        with open(folder + '/web.log', 'a') as log:
            log.write('%d fail %s\n' % (time.time(), ip))
        while ip + '\n' not in (open(folder + '/acts').read() if os.path.exists(folder + '/acts') else ''):
            time.sleep(0.0005)
        took.append(time.perf_counter() - begin)
    return took

def row(name, times):
    times.sort()
    at = lambda q: '%.1f' % (times[min(len(times) - 1, int(len(times) * q))] * 1000)
    print('| %s | %d | %s | %s | %s |' % (name, len(times), at(0.5), at(0.99), at(1)))

alone = connect()
row('answer, one client', [wait for _ in range(rounds) for wait in ask_all([alone], 0)])
row('ban, nobody connected', bans(20, lambda: None, 1))
half = connect()
half.sendall(status[:9])
crowd = [connect() for _ in range(clients - 1)]
row('answer, all clients within a second', [wait for _ in range(max(1, rounds // 5)) for wait in ask_all(crowd, 1)])
row('answer, all clients at once', [wait for _ in range(rounds) for wait in ask_all(crowd, 0)])
def burst():
    for one in crowd:
        one.sendall(status)
def drain():
    for one in crowd:
        got = b''
        while not got.endswith(END):
            got += one.recv(65536)
took = []
for i in range(20):
    took += bans(1, burst, 50 + i)
    drain()
row('ban, all clients asking', took)
END
}

echo "$(uname -m), $(nproc) cores; $clients clients; milliseconds"
for subject in sekisho fail2ban; do
  case $subject in
    sekisho) client=("$work/fail2ban-client") ;;
    fail2ban) [ -x /usr/bin/fail2ban-client ] || continue; client=(/usr/bin/python3 /usr/bin/fail2ban-client) ;;
  esac
  echo; echo "| $subject | count | median | 99 % | longest |"; echo "|---|---|---|---|---|"
  tree "$work/$subject"
  "${client[@]}" -c "$work/$subject/conf" start > /dev/null || exit 1
  timeout 300 bash -c "$(declare -f measure); clients=$clients rounds=$rounds; measure $work/$subject" \
    || echo "| gave up after 300 s | | | | |"
  "${client[@]}" -c "$work/$subject/conf" stop > /dev/null
done
