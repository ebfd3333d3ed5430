"""Runs the installed fail2ban-client's `-d` over many configuration folders quickly.

Reads folder names from standard input, one per line; writes what the client printed to FOLDER.out,
what it logged to FOLDER.err, and its exit code to FOLDER.code. The client is imported once and
every folder gets a forked child, which is much faster than an interpreter start for each.
"""
import os
import sys

sys.path.insert(0, os.environ.get("FAIL2BAN_PATH", "/usr/lib/python3/dist-packages"))
sys.dont_write_bytecode = True

# Imported here so that the children need not.
from fail2ban.client import configurator, fail2banclient  # noqa: E402,F401
from fail2ban.server import filter as _filter  # noqa: E402,F401


def child(folder, out, err):
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = os.fdopen(2, "w", encoding="utf-8")

    def leave(code=0):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    # The client leaves through a function of its own, which closes the standard files.
    fail2banclient.exit = leave
    try:
        fail2banclient.exec_command_line(["fail2ban-client", "-c", folder, "-d"])
    except BaseException as e:
        sys.stderr.write("EXCEPTION %r" % (e,))
        leave(255)
    leave(0)


for line in sys.stdin:
    folder = line.rstrip("\n")
    with open(folder + ".out", "wb") as out, open(folder + ".err", "wb") as err:
        pid = os.fork()
        if pid == 0:
            child(folder, out, err)
        _, status = os.waitpid(pid, 0)
    with open(folder + ".code", "w") as code:
        code.write("%d\n" % os.waitstatus_to_exitcode(status))
