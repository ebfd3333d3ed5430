"""fail2ban-regex of one fail2ban, for many cases: one JSON value per line, both ways.

A case is a command line and a time zone; the answer is the exit code and what was printed. The
program is imported once and every case gets a forked child: much faster than an interpreter for
each, and no state is left behind.
"""
import json
import os
import re
import sys
import time

from fail2ban.client import fail2banregex
from fail2ban.server import actions, datedetector, strptime  # noqa: F401
from fail2ban.server.mytime import MyTime


def warm():
    """Compiles what every case needs; the `re` module remembers it."""
    re._MAXCACHE = 100000
    MyTime.setAlternateNow(0)
    strptime._updateTimeRE()
    for template in datedetector.DateDetectorCache().templates:
        template._compileRegex()
    MyTime.setAlternateNow(None)


def child(args, zone, out):
    os.environ["TZ"] = zone
    time.tzset()
    os.dup2(out, 1)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8")
    try:
        fail2banregex.exec_command_line(args)
        code = 0
    except SystemExit as e:
        code = e.code or 0
    except BaseException as e:
        print("EXCEPTION %r" % (e,))
        code = 1
    sys.stdout.flush()
    os._exit(code)


def run(case):
    out = os.memfd_create("out")
    pid = os.fork()
    if pid == 0:
        child(case["args"], case["zone"], out)
    _, status = os.waitpid(pid, 0)
    os.lseek(out, 0, os.SEEK_SET)
    with open(out, "rb") as file:
        text = file.read().decode("utf-8", "replace")
    return {"code": os.waitstatus_to_exitcode(status), "out": text}


warm()
for line in sys.stdin:
    print(json.dumps(run(json.loads(line))), flush=True)
