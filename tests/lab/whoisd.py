#!/usr/bin/python3
"""A whois server for the lab: answers every question with its name, at most 500 times."""
import socket, sys
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind((sys.argv[1], 43)); s.listen(8)
for _ in range(500):
    c, _peer = s.accept(); c.settimeout(5)
    try: q = c.recv(512).decode("latin1").strip(); c.sendall(("netname: LAB-NET\nremarks: whois answer for %s\n" % q.split()[-1]).encode())
    except OSError: pass
    finally: c.close()
