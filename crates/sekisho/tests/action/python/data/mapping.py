"""A user's action that formats messages: CallingMap, update(), %-formatting, deleted keys."""

import json

from fail2ban.server.actions import ActionBase, CallingMap


class MappingAction(ActionBase):
    def __init__(self, jail, name, record, pattern="%(ip)s %(jailname)s %(failures)i %(bantime)i"):
        super().__init__(jail, name)
        self.record = record
        self.pattern = pattern
        self.calls = 0
        self.values = CallingMap(
            jailname=self._jail.name,
            bantime=lambda: self._jail.actions.getBanTime(),
            calls=self.count,
            own=lambda values: "own of " + values["jailname"],
            fixed=7,
        )

    def count(self):
        self.calls += 1
        return self.calls

    def write(self, *what):
        with open(self.record, "a") as file:
            file.write(json.dumps(what) + "\n")

    def start(self):
        values = self.values
        self.write("start", "%(jailname)s %(bantime)s %(calls)s %(calls)s %(own)s" % values)
        copy = values.copy()
        copy["fixed"] = 8
        self.write("copy", values["fixed"], copy["fixed"], sorted(values), len(values))
        values.reset()
        self.write("reset", values["calls"], callable(values.getRawItem("own")))

    def ban(self, aInfo):
        self.write("before", aInfo["bantime"], aInfo.get("restored"), "jailname" in aInfo)
        aInfo.update(self.values)
        self.write("after", self.pattern % aInfo, aInfo["jailname"])
        self.write("matches", aInfo["matches"], aInfo["ipmatches"], aInfo["ipjailmatches"])
        del aInfo["ip"]
        try:
            aInfo["ip"]
        except KeyError as error:
            self.write("gone", type(error).__name__)
        self.write("fields", sorted((k, str(v)) for k, v in aInfo["F-*"].items()))

    def unban(self, aInfo):
        # What ban() did to its mapping does not show here.
        self.write("unban", str(aInfo["ip"]), aInfo["bantime"])


Action = MappingAction
