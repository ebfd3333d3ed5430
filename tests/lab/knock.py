#!/usr/bin/python3
"""knock.py FILE SRC...: connects to the lab's IMAP port from each source over and over (at most 50 tries a second
each) until there is that file, for two minutes at most, and says how many got through."""
import os, select, socket, sys, time
end = time.time() + 120
passed, begun = 0, False
while time.time() < end and not os.path.exists(sys.argv[1]):
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
    if not begun: begun = True; print("begun", flush=True)
print("%d passed" % passed)
