"""Runs fail2ban-client over many configuration folders quickly.

Reads one JSON value per line, {"dir": FOLDER, "args": [...]}, and answers {"out", "err", "code"} of
`fail2ban-client -c FOLDER ARGS…`. The client is imported once and every question gets a forked child,
which is much faster than an interpreter start for each. Without "args", the commands of the folder are
given to a server that is not started: "out" is the first that it refuses.
"""
import json
import os
import resource
import sys
import tempfile

# Imported here so that the children need not.
from fail2ban.client import configurator, fail2banclient  # noqa: F401
from fail2ban.server import filter as _filter, server  # noqa: F401


def child(question, out, err):
    # A value that doubles itself must not take the machine along.
    resource.setrlimit(resource.RLIMIT_AS, (500 << 20, 500 << 20))
    resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
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
        if "args" not in question:
            refused = first_refused(question["dir"])
            if refused:
                print(refused)
            leave()
        args = ["fail2ban-client", "-c", question["dir"]] + question["args"]
        fail2banclient.exec_command_line(args)
    except BaseException as e:
        sys.stderr.write("EXCEPTION %r" % (e,))
        leave(255)
    leave(0)


def first_refused(folder):
    config = configurator.Configurator()
    config.setBaseDir(folder)
    config.readAll()
    config.getOptions(None)
    config.convertToProtocol(allow_no_files=True)
    transmitter = server.Server(False)._Server__transm
    for command in config.getConfigStream():
        # What concerns the server itself, and starting, is left out.
        if command[0] == "start" or (command[0] == "set" and len(command) == 3):
            continue
        code, answer = transmitter.proceed(command)
        if code != 0:
            return "%r: %s" % (command, answer)
    return None


for line in sys.stdin:
    question = json.loads(line)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        pid = os.fork()
        if pid == 0:
            child(question, out, err)
        _, status = os.waitpid(pid, 0)
        answer = {"code": os.waitstatus_to_exitcode(status)}
        for name, file in (("out", out), ("err", err)):
            file.seek(0)
            answer[name] = file.read().decode("utf-8", "backslashreplace")
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
