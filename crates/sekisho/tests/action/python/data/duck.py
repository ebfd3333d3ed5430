"""A user's action that inherits nothing: it has the methods, and that is enough."""

import json


class Action:
    norestored = True
    _prolongable = True

    def __init__(self, jail, name, record):
        self.record = record
        self.jail = jail.name

    def _write(self, *what):
        with open(self.record, "a") as file:
            file.write(json.dumps(what) + "\n")

    def start(self):
        self._write("start", self.jail)

    def stop(self):
        self._write("stop")

    def ban(self, aInfo):
        self._write("ban", str(aInfo["ip"]), aInfo["time"], aInfo["restored"])

    def reban(self, aInfo):
        self._write("reban", str(aInfo["ip"]))

    def prolong(self, aInfo):
        self._write("prolong", str(aInfo["ip"]), aInfo["bantime"], aInfo["bancount"])

    def unban(self, aInfo):
        self._write("unban", str(aInfo["ip"]), aInfo["restored"])

    def flush(self):
        self._write("flush")
        return True

    def consistencyCheck(self, beforeRepair=None):
        self._write("check")
