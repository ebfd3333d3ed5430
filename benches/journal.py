#!/usr/bin/env python3
"""Reads a journal of many entries with sekisho and with fail2ban: CPU time, and whether the bans
are the same.

    benches/journal.py [ENTRIES]       (1,000,000; JOURNAL=FOLDER uses one that exists)

Needs systemd-journal-remote, which writes the journal into a temporary folder, fail2ban and
python3-systemd.  Runs target/release/sekisho; touches nothing else of the machine.
"""
import os, random, re, shutil, subprocess, sys, tempfile, time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SERVER = os.environ.get("SEKISHO", os.path.join(ROOT, "target/release/sekisho"))
REMOTE = "/lib/systemd/systemd-journal-remote"
TICK = os.sysconf("SC_CLK_TCK")


def make(folder, count):
    """A journal as a mail and ssh server has it; a tenth are failed logins."""
    os.makedirs(folder)
    rng, boot = random.Random(1), "a" * 32
    at = int(time.time() * 1e6) - count * 1000
    child = subprocess.Popen([REMOTE, "-o", f"{folder}/remote.journal", "--split-mode=none", "-"],
                             stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for i in range(count):
        at += 1000
        name = "sshd" if i % 5 < 2 else ("nginx", "cron", "postfix", "dovecot")[i % 4]
        if i % 10 == 0:
            host = f"10.{rng.randrange(256)}.{rng.randrange(4)}.{rng.randrange(256)}"
            text = f"Failed password for root from {host} port {40000 + i % 20000} ssh2"
        else:
            text = f"request {i} handled for client {rng.randrange(100000)} with status ok"
        child.stdin.write(
            f"__CURSOR=s=c;i={i:x}\n__REALTIME_TIMESTAMP={at}\n__MONOTONIC_TIMESTAMP={i}\n"
            f"_BOOT_ID={boot}\n_MACHINE_ID={'b' * 32}\n_HOSTNAME=host\nPRIORITY=6\n_UID=0\n_GID=0\n"
            f"SYSLOG_FACILITY=4\nSYSLOG_IDENTIFIER={name}\n_PID={1000 + i % 30000}\n_COMM={name}\n"
            f"_EXE=/usr/sbin/{name}\n_CMDLINE={name}: session {i % 1000}\n_TRANSPORT=syslog\n"
            f"_SYSTEMD_UNIT={name}.service\n_SYSTEMD_SLICE=system.slice\n"
            f"_SOURCE_REALTIME_TIMESTAMP={at - 20}\nMESSAGE={text}\n\n")
    child.stdin.close()
    child.wait()


def cpu(pid):
    """Seconds of a process, its threads and its children."""
    total = 0
    for each in [str(pid)] + open(f"/proc/{pid}/task/{pid}/children").read().split() + [
            child for task in os.listdir(f"/proc/{pid}/task")
            for child in open(f"/proc/{pid}/task/{task}/children").read().split()]:
        try:
            fields = open(f"/proc/{each}/stat").read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
        if each == str(pid):
            total += int(fields[13]) + int(fields[14])
    return total / TICK


def run(server, journal, folder, match):
    """CPU seconds until the jail has read everything, wall seconds, and whom it banned."""
    os.makedirs(f"{folder}/filter.d"), os.makedirs(f"{folder}/action.d")
    files = {
        "fail2ban.conf": f"[Definition]\nloglevel = INFO\nlogtarget = {folder}/log\n"
                         f"socket = {folder}/s\npidfile = {folder}/pid\ndbfile = None\n",
        "filter.d/b.conf": "[Definition]\n"
                           "failregex = ^\\s*\\S+ sshd\\[\\d+\\]: Failed password for \\S+ from <HOST> port \\d+\n",
        "jail.conf": f"[b]\nenabled = true\nfilter = b\nbackend = systemd[journalpath={journal}]\n"
                     f"journalmatch = {match}\nmaxretry = 3\nfindtime = 100d\nbantime = 100d\n"
                     "ignoreself = false\nusedns = no\n",
    }
    for name, text in files.items():
        open(os.path.join(folder, name), "w").write(text)
    began = time.monotonic()
    child = subprocess.Popen([*server, "-c", folder, "-f", "start"], stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
    last, quiet = None, 0
    while quiet < 3:
        time.sleep(1)
        if child.poll() is not None:
            raise SystemExit(f"{server[-1]} ended; see its configuration")
        log = open(f"{folder}/log").read() if os.path.exists(f"{folder}/log") else ""
        bans = len(re.findall(r"\] Ban ", log))
        quiet = quiet + 1 if "in operation now" in log and bans == last else 0
        last = bans
    used, took = cpu(child.pid), time.monotonic() - began - 3
    child.terminate()
    child.wait()
    return used, took, sorted(re.findall(r"\] Ban (\S+)", log))


def main():
    work = tempfile.mkdtemp()
    try:
        journal = os.environ.get("JOURNAL") or f"{work}/journal"
        if journal.startswith(work):
            make(journal, int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
        for what, match in (("all entries", ""), ("one unit", os.environ.get("MATCH", "_SYSTEMD_UNIT=sshd.service"))):
            found = []
            for name, server in (("sekisho", [SERVER, "server"]),
                                 ("fail2ban", ["/usr/bin/python3", "/usr/bin/fail2ban-server"])):
                found.append(run(server, journal, f"{work}/{name}{len(match)}", match))
                used, took, bans = found[-1]
                print(f"{what}, {name}: {used:.1f} s of CPU, {took:.0f} s, {len(bans)} bans", flush=True)
            same = "the same bans" if found[0][2] == found[1][2] else "DIFFERENT BANS"
            print(f"{what}: {found[1][0] / found[0][0]:.1f} times less CPU, {same}", flush=True)
    finally:
        shutil.rmtree(work)


main()
