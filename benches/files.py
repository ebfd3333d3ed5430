#!/usr/bin/env python3
"""How the server fares with log files: many of them, idle ones, huge ones, and how fast it is.

    benches/files.py [many|busy|idle|latency|catch-up] …    (all of them without an argument)

Runs target/release/sekisho with a configuration of its own in a temporary folder; touches nothing
else of the machine.  Prints figures, judges nothing.  FILES, SECONDS, GIB change the sizes.
"""
import os, random, re, shutil, signal, subprocess, sys, tempfile, threading, time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SERVER = os.environ.get("SEKISHO", os.path.join(ROOT, "target/release/sekisho"))
FILES = int(os.environ.get("FILES", 2000))
SECONDS = int(os.environ.get("SECONDS", 60))
GIB = float(os.environ.get("GIB", 10))
TICK = os.sysconf("SC_CLK_TCK")


class Server:
    """A server in the foreground, and what it costs."""

    def __init__(self, folder, logpath, loglevel="NOTICE", findtime="10m"):
        self.folder = folder
        self.socket = os.path.join(folder, "socket")
        for part in ("filter.d", "action.d"):
            os.makedirs(os.path.join(folder, "etc", part), exist_ok=True)
        self.put("fail2ban.conf", f"""[Definition]
loglevel = {loglevel}
logtarget = STDOUT
socket = {self.socket}
pidfile = {folder}/pid
dbfile = {folder}/db.sqlite3
""")
        self.put("filter.d/bench.conf", """[Definition]
failregex = ^ \\S+ sshd\\[\\d+\\]: Failed password for \\S+ from <HOST> port \\d+$
""")
        self.put("jail.conf", f"""[bench]
enabled = true
filter = bench
logpath = {logpath}
maxretry = 1000000000
findtime = {findtime}
ignoreself = false
usedns = no
""")
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [SERVER, "server", "-c", os.path.join(folder, "etc"), "-f", "start"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines, self.seen = [], threading.Condition()
        threading.Thread(target=self.read, daemon=True).start()
        while not (os.path.exists(self.socket) and self.ask("ping")):
            time.sleep(0.01)

    def put(self, name, text):
        with open(os.path.join(self.folder, "etc", name), "w") as file:
            file.write(text)

    def read(self):
        for line in self.process.stdout:
            with self.seen:
                self.lines.append((time.monotonic(), line))
                self.seen.notify_all()

    def wait_line(self, text, limit=60):
        """When a line with this text came out."""
        end, at = time.monotonic() + limit, 0
        with self.seen:
            while True:
                for when, line in self.lines[at:]:
                    if text in line:
                        return when
                at = len(self.lines)
                if not self.seen.wait(max(0, end - time.monotonic())):
                    raise SystemExit(f"no '{text}' within {limit} s")

    def ask(self, *words):
        done = subprocess.run([SERVER, "-s", self.socket, *words], capture_output=True, text=True)
        return done.stdout if done.returncode == 0 else ""

    def failed(self):
        found = re.search(r"Total failed:\s+(\d+)", self.ask("status", "bench"))
        return int(found.group(1)) if found else 0

    def cpu(self):
        """Seconds of processor time used so far, by this server and by all of its threads."""
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def line(n, fails=True):
    what = "Failed" if fails else "Accepted"
    stamp = time.strftime("%b %d %H:%M:%S")
    return f"{stamp} host sshd[{n}]: {what} password for root from 10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255} port 4711\n"


def with_files(count, test):
    folder = tempfile.mkdtemp(prefix="sekisho-bench-")
    try:
        logs = os.path.join(folder, "logs")
        os.mkdir(logs)
        names = [os.path.join(logs, f"{n:05}.log") for n in range(count)]
        for name in names:
            open(name, "w").close()
        server = Server(folder, os.path.join(logs, "*.log"))
        try:
            test(server, names)
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


def write_all(server, names, one_in):
    """Ten lines a second to each file, one write each; of `one_in` lines one is a failure."""
    files = [os.open(name, os.O_WRONLY | os.O_APPEND) for name in names]
    random.shuffle(files)
    cpu, begin, written, failures = server.cpu(), time.monotonic(), 0, 0
    rounds = SECONDS * 10
    for number in range(rounds):
        # Spread over the tenth of a second, in groups.
        for part in range(0, len(files), 50):
            target = begin + number / 10 + part / len(files) / 10
            rest = target - time.monotonic()
            if rest > 0:
                time.sleep(rest)
            for file in files[part:part + 50]:
                fails = written % one_in == 0
                os.write(file, line(written, fails).encode())
                written += 1
                failures += fails
    took = time.monotonic() - begin
    while server.failed() < failures and time.monotonic() < begin + took + 30:
        time.sleep(0.05)
    used = server.cpu() - cpu
    for file in files:
        os.close(file)
    return written, failures, took, used


def many(one_in=100, name="many"):
    def test(server, names):
        time.sleep(2)  # until all are open
        written, failures, took, used = write_all(server, names, one_in)
        print(f"{name}: {len(names)} files, {written} lines in {took:.1f} s "
              f"({written / took:.0f}/s), one in {one_in} a failure: {failures} written, "
              f"{server.failed()} found; {used:.2f} s of processor time, "
              f"{used / took * 100:.1f} % of one core", flush=True)
    with_files(FILES, test)


def idle():
    def test(server, names):
        for name in names:
            with open(name, "a") as file:
                file.write(line(1))
        time.sleep(90)  # until nothing is new any more
        cpu, begin = server.cpu(), time.monotonic()
        time.sleep(SECONDS)
        used, took = server.cpu() - cpu, time.monotonic() - begin
        print(f"idle: {len(names)} quiet files: {used:.3f} s of processor time in {took:.0f} s "
              f"({used / took * 100:.3f} % of one core)", flush=True)
    with_files(FILES, test)


def latency():
    folder = tempfile.mkdtemp(prefix="sekisho-bench-")
    try:
        log = os.path.join(folder, "log")
        open(log, "w").close()
        server = Server(folder, log, loglevel="INFO")
        server.wait_line("Jail 'bench' started")
        time.sleep(1)
        file, times = os.open(log, os.O_WRONLY | os.O_APPEND), []
        for n in range(1, 1 + int(os.environ.get("LINES", 2000))):
            text = line(n).encode()
            address = f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}"
            at = time.monotonic()
            os.write(file, text)
            times.append(server.wait_line(f"Found {address} ", 10) - at)
            time.sleep(random.uniform(0.002, 0.02))
            with server.seen:
                server.lines.clear()
        os.close(file)
        server.stop()
        times.sort()
        at = lambda part: times[min(len(times) - 1, int(len(times) * part))] * 1000
        print(f"latency from write to «Found» in the log, {len(times)} lines: p50 {at(.5):.2f} ms, "
              f"p90 {at(.9):.2f} ms, p99 {at(.99):.2f} ms, worst {at(1):.2f} ms", flush=True)
    finally:
        shutil.rmtree(folder)


def catch_up():
    folder = tempfile.mkdtemp(prefix="sekisho-bench-", dir=os.environ.get("SPACE"))
    try:
        log = os.path.join(folder, "log")
        now, size, want = time.time(), 0, int(GIB * (1 << 30))
        # A month of lines, evenly spread; the last one is from now.
        block_lines, line_size = 20000, len(line(0))
        count = want // line_size
        step = 30 * 86400 / count
        with open(log, "w") as file:
            for first in range(0, count, block_lines):
                stamp = time.strftime("%b %d %H:%M:%S", time.localtime(now - (count - first) * step))
                text = f"{stamp} host sshd[{first % 30000}]: Accepted password for root from 10.1.2.3 port 4711\n"
                file.write(text * min(block_lines, count - first))
            file.write(line(7))
        size = os.path.getsize(log)
        os.sync()
        server = Server(folder, log, loglevel="INFO")
        try:
            found = server.wait_line("Found 10.0.0.7 ", 600) - server.started
            with open(log, "a") as file:
                file.write(line(8))
            at = time.monotonic()
            live = server.wait_line("Found 10.0.0.8 ") - at
            print(f"catch-up: {size / (1 << 30):.2f} GiB, findtime 10m: last line found {found:.2f} s "
                  f"after the start of the process, a new one {live * 1000:.1f} ms after it was "
                  f"written; {server.cpu():.2f} s of processor time", flush=True)
            for _, text in server.lines:
                if "begins at byte" in text or "caught up" in text or "catching up" in text:
                    print("   " + text.strip()[:150])
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


TESTS = {"many": many, "busy": lambda: many(1, "busy"), "idle": idle, "latency": latency, "catch-up": catch_up}
for name in sys.argv[1:] or TESTS:
    TESTS[name]()
