"""A user's action in the plainest style: every method, and everything it is told."""

import json

from fail2ban.server.action import ActionBase


class RecordAction(ActionBase):
    """Writes down each call and what it was given."""

    def __init__(self, jail, name, record, greeting="hello", extra=None):
        super(RecordAction, self).__init__(jail, name)
        self.record = record
        self.greeting = greeting
        self.extra = extra
        self.write("init", [jail.name, name, greeting, extra, repr(jail)])

    def write(self, call, told=None):
        with open(self.record, "a") as file:
            file.write(json.dumps([call, told]) + "\n")

    def facts(self, aInfo):
        # `jail.name` is new in 1.1.1.
        keys = sorted(key for key in aInfo if key != "jail.name")
        facts = [[key, str(aInfo[key]), type(aInfo[key]).__name__] for key in keys]
        return [facts, len(aInfo) == len(list(aInfo)), "ip" in aInfo, "nonsense" in aInfo, aInfo.get("nonsense")]

    def start(self):
        self.write("start", [self._name, self._jail.name, self._jail.actions.getBanTime()])
        self._logSys.info("%s starts", self._name)

    def stop(self):
        self.write("stop")
        self._logSys.notice("%s stops", self._name)

    def ban(self, aInfo):
        self.write("ban", self.facts(aInfo))

    def unban(self, aInfo):
        self.write("unban", self.facts(aInfo))


Action = RecordAction
