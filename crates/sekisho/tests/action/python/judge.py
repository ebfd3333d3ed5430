"""Takes a Python action through a life in the fail2ban whose modules are on the path.

Reads a case per line (file, params, steps), answers with what the action recorded, logged, raised
and returned at each step.
"""

import json
import logging
import os
import sys

from fail2ban.server.jail import Jail
from fail2ban.server.mytime import MyTime
from fail2ban.server.server import Server
from fail2ban.server.ticket import BanTicket
from fail2ban.server.ipdns import IPAddr

NOT_THE_ACTIONS = "actions jail server transmitter observer database failmanager utils".split()
logs = []


class Collect(logging.Handler):
    def emit(self, record):
        if record.levelno >= 20 and record.name.split(".")[-1] not in NOT_THE_ACTIONS:
            logs.append([record.levelno, record.name, record.getMessage()])


logging.getLogger("fail2ban").handlers = [Collect()]
logging.getLogger("fail2ban").setLevel(1)
logging.getLogger("fail2ban").propagate = False
MyTime.setTime(1700000000)


def ticket(told):
    made = BanTicket(told["id"], told["time"], told["matches"])
    made.setAttempt(told["failures"])
    made.setBanTime(told["bantime"])
    made.setBanCount(told["bancount"])
    made.restored = told["restored"]
    for name, value in told["fields"].items():
        made._data[name] = IPAddr(value) if name == "ip" else value
    return made


def sent(value):
    """As a client gets it."""
    return value if isinstance(value, (str, bool, int, float, list, dict, set)) else str(value)


def life(case):
    server = Server(False)
    server.addJail("j1", "polling")
    ask = server._Server__transm.proceed
    actions = server._Server__jails["j1"].actions
    actions.setBanTime(600)
    transcript = []

    def step(words):
        verb = words[0]
        if verb == "add":
            actions.add("act", case["file"], case["params"])
            return None
        if verb in ("get", "set", "multi-set"):
            code, value = ask([verb, "j1"] + words[1:])
            if code:
                raise value
            return repr(sent(value))
        action = actions["act"]
        if verb == "flush":
            return repr(bool(action.flush()))
        if verb == "check":
            action.consistencyCheck()
            return None
        if verb in ("ban", "reban", "prolong", "unban"):
            told = ticket(words[1])
            if verb in ("ban", "prolong") and told.restored and getattr(action, "norestored", 0):
                return None
            if verb == "prolong" and not action._prolongable:
                return None
            getattr(action, verb)(actions._getActionInfo(told))
            return None
        getattr(action, verb)()
        return None

    for words in case["steps"]:
        error = value = None
        try:
            value = step(words)
        except Exception as caught:
            error = [type(caught).__name__, str(caught)]
        records = ""
        if os.path.exists(case["record"]):
            records = open(case["record"]).read()
            os.unlink(case["record"])
        transcript.append({"records": records, "logs": list(logs), "error": error, "value": value})
        del logs[:]
    return transcript


for line in sys.stdin:
    print(json.dumps(life(json.loads(line))), flush=True)
