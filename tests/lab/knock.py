#!/usr/bin/python3
"""knock.py SECONDS SRC...: connects to the lab's IMAP port from each source over and over (bounded by the time, at
most 50 tries a second each), and says how many got through."""
import select, socket, sys, time
end = time.time() + min(30.0, float(sys.argv[1]))
passed = 0
while time.time() < end:
    for src in sys.argv[2:]:
        s = socket.socket()
        s.bind((src, 0))
        s.setblocking(False)
        s.connect_ex(("198.51.100.10", 143))
        select.select([], [s], [], 0.02)
        try:
            passed += s.getpeername() is not None
        except OSError:
            pass
        s.close()
print("%d passed" % passed)
