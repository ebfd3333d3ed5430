"""A user's action that logs in every way, and meets exceptions of its own."""

from fail2ban.helpers import formatExceptionInfo, getLogger, splitwords, str2LogLevel
from fail2ban.server.action import ActionBase
from fail2ban.server.mytime import MyTime

logSys = getLogger(__name__)


class LoggingAction(ActionBase):
    def start(self):
        self._logSys.info("info %s %i %r", "text", 3, [1])
        self._logSys.notice("notice")
        self._logSys.warning("warning\nof two lines")
        self._logSys.error("error %(name)s", {"name": "x"})
        self._logSys.critical("critical")
        logSys.info("from the module")
        getLogger("fail2ban.filter").info("under another name")
        getLogger("plain").critical("not below fail2ban")
        logSys.info("words %r %r %r", splitwords("a, b\nc"), splitwords(""), str2LogLevel("notice"))
        logSys.info("time %r", MyTime.time2str(0, format="%Y"))
        try:
            {}["missing"]
        except KeyError:
            self._logSys.info("caught %s: %s", *formatExceptionInfo())

    def ban(self, aInfo):
        what = str(aInfo["ip"])
        if what == "192.0.2.1":
            raise ValueError("a bad value: %s" % what)
        if what == "192.0.2.2":
            raise KeyError("key")
        if what == "192.0.2.3":
            raise Exception()
        if what == "192.0.2.4":
            return aInfo["no such thing"]
        self._logSys.info("ban of %(ip)s after %(failures)d", aInfo)

    def unban(self, aInfo):
        raise RuntimeError("unban is not possible")

    def flush(self):
        self._logSys.info("flush does nothing")

    def stop(self):
        raise OSError(2, "No such file or directory", "/x")


Action = LoggingAction
