#!/usr/bin/python3
"""From the log line's write to the rule in the kernel: latency.py LOG CHAIN BANS.  Runs inside the server.
Prints p50, p95 and max in ms.  The rule is looked for with `iptables -S CHAIN` back to back (about 2 ms each)."""
import subprocess, sys, time
log, chain, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
took = []
for i in range(n):
    ip = "192.0.2.%d" % (i + 1)
    line = "%s mail dovecot: imap-login: Disconnected: Aborted login by logging out (auth failed, 1 attempts in 0 secs): user=<v>, method=PLAIN, rip=%s, lip=198.51.100.10, session=<x>\n"
    with open(log, "a") as f:
        for _ in range(5): f.write(line % (time.strftime("%b %d %H:%M:%S"), ip)); f.flush()
        t0 = time.monotonic()
    while time.monotonic() - t0 < 10:
        if (ip + "/32").encode() in subprocess.run(["iptables", "-S", chain], capture_output=True).stdout: break
    took.append((time.monotonic() - t0) * 1000)
    time.sleep(0.05 + (i % 7) * 0.03)
took.sort()
print("p50 %.0f ms, p95 %.0f ms, max %.0f ms of %d bans" % (took[n // 2], took[max(0, -(-n * 95 // 100) - 1)], took[-1], n))
