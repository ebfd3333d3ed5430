"""Runs one action that is written in Python, for a server that is not.

The action finds what it would find in fail2ban: the modules it imports, its base class, its jail's
name, and what there is to know of a ban. All of it is made here, whether fail2ban is installed or
not. The server sends one JSON value per line on standard input and gets one per line on standard
output; between a request and its answer go log records, and questions to the server. What the
action itself prints goes elsewhere, so it cannot be taken for an answer.

Every value of a ban comes from an attacker's log lines: nothing here evaluates or formats it.
Python 3.6 is enough; only the standard library's lightest modules are loaded.
"""

import io
import json
import logging
import os
import socket
import sys
import threading
import time
import traceback
import types
from abc import ABCMeta
from collections.abc import MutableMapping

# Characters of one log record; a longer one is cut.
LOG_MAX = 64 * 1024
# Bytes of one line to the server, which would end us for a longer one.
LINE_MAX = 1024 * 1024
# Levels of nested values that a client gets to see; deeper ones are shown as text.
DEPTH_MAX = 32
# Seconds that a call may take unless the action has a `timeout` of its own.
TIMEOUT = 60


# --- the line to the server ---------------------------------------------------------------------


class Wire(object):
    """The two pipes, moved out of the way of whatever the action reads or prints."""

    def __init__(self):
        self._in = os.fdopen(os.dup(0), "rb")
        self._out = os.dup(1)
        # Re-entrant: a log record may be written while another one is (in a signal handler).
        self._lock = threading.RLock()
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False))
        sys.stdout, sys.stderr = [
            io.TextIOWrapper(
                io.FileIO(fd, "w", closefd=False),
                encoding="utf-8",
                errors="backslashreplace",
                line_buffering=True,
            )
            for fd in (1, 2)
        ]

    def receive(self):
        """The next request; None when the server has no more."""
        line = self._in.readline()
        return json.loads(line.decode("utf-8")) if line else None

    def send(self, message):
        self.write(json.dumps(message))

    def write(self, text):
        data = text.encode("ascii") + b"\n"
        with self._lock:
            try:
                while data and self._out is not None:
                    data = data[os.write(self._out, data) :]
            except OSError:
                # Nobody listens any more.
                os._exit(1)

    def detach(self):
        """In a process that the action forked: it must not answer in our place."""
        os.close(self._out)
        self._out = None


def clean(text):
    """Text that every JSON reader takes: no halves of characters."""
    try:
        text.encode("utf-8")
        return text
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


def plain(value, depth=0):
    """A value for a client: plain data, anything else as its text. What JSON lacks is tagged."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return clean(str(value))
    if isinstance(value, int):
        return int(value) if -(2 ** 63) <= value < 2 ** 63 else {"text": str(value)}
    if isinstance(value, float):
        return float(value) if value - value == 0 else {"text": str(value)}
    if depth < DEPTH_MAX:
        if isinstance(value, list):
            return [plain(item, depth + 1) for item in value]
        if isinstance(value, dict):
            pairs = value.items()
            return {"dict": [[plain(k, depth + 1), plain(v, depth + 1)] for k, v in pairs]}
        for kind, name in ((tuple, "tuple"), (set, "set")):
            if isinstance(value, kind):
                return {name: [plain(item, depth + 1) for item in value]}
    return {"text": clean(str(value))}


def python(value):
    """The other way round."""
    if isinstance(value, list):
        return [python(item) for item in value]
    if isinstance(value, dict):
        if "tuple" in value:
            return tuple(python(item) for item in value["tuple"])
        if "set" in value:
            return set(python(item) for item in value["set"])
        return dict((python(k), python(v)) for k, v in value["dict"])
    return value


class Forward(logging.Handler):
    """Hands log records to the server, which writes them into its log."""

    def __init__(self, wire):
        logging.Handler.__init__(self)
        self._wire = wire

    def emit(self, record):
        try:
            text = self.format(record)
        except Exception as error:
            text = "logging failed: %r on %r" % (error, record.msg)
        if len(text) > LOG_MAX:
            text = text[:LOG_MAX] + " ... (cut)"
        self._wire.send({"log": [record.levelno, clean(record.name), clean(text)]})


def add_log_levels():
    """fail2ban's levels."""
    levels = (("HEAVYDEBUG", 5, "HEAVY"), ("TRACEDEBUG", 7, "TRACE"), ("MSG", 18, "MSG"))
    for attribute, level, name in levels + (("NOTICE", 25, "NOTICE"),):
        setattr(logging, attribute, level)
        logging.addLevelName(level, name)

    def notice(self, msg, *args, **kwargs):
        self.log(logging.NOTICE, msg, *args, **kwargs)

    logging.Logger.notice = notice


def forward_log(wire):
    """A handler for all that is logged below fail2ban's name."""
    root = logging.getLogger("fail2ban")
    root.setLevel(1)
    root.propagate = False
    root.addHandler(Forward(wire))


def get_logger(name):
    """A logger of fail2ban's naming: the last part of a dotted name counts."""
    return logging.getLogger("fail2ban." + name.rpartition(".")[2] if "." in name else name)


# --- addresses ----------------------------------------------------------------------------------


def host_name(address):
    """The name of an address by reverse DNS, or None."""
    try:
        return socket.gethostbyaddr(str(address))[0]
    except (OSError, UnicodeError):
        return None


class IPAddr(object):
    """An address, a network, or (family RAW or unspecified) any other id."""

    CIDR_RAW = -2
    CIDR_UNSPEC = -1
    FAM2STR = {socket.AF_INET: "inet4", socket.AF_INET6: "inet6"}
    BITS = {socket.AF_INET: 32, socket.AF_INET6: 128}

    __slots__ = ("_family", "_addr", "_plen", "_raw")

    def __init__(self, ipstr, cidr=CIDR_UNSPEC):
        self._family, self._addr, self._plen, self._raw = socket.AF_UNSPEC, 0, 0, ipstr
        if cidr == self.CIDR_RAW or isinstance(ipstr, (tuple, list)):
            self._family = self.CIDR_RAW
            return
        text = str(ipstr)
        if text[:1] == "[" and text[-1:] == "]":
            text = text[1:-1]
        if cidr == self.CIDR_UNSPEC and "/" in text:
            address, _, mask = text.partition("/")
            if "." in mask or ":" in mask:
                text, cidr = address, self.masktoplen(mask)
            elif mask.isdigit():
                text, cidr = address, int(mask)
        self._raw = text
        for family, bits in self.BITS.items():
            try:
                packed = socket.inet_pton(family, text)
            except (OSError, ValueError):
                continue
            self._family, self._plen = family, bits
            self._addr = int.from_bytes(packed, "big")
            if 0 <= cidr < bits:
                self._plen = cidr
                self._addr = self._addr >> (bits - cidr) << (bits - cidr)
            elif bits == 128 and self._addr >> 32 == 0xFFFF:
                # An IPv4 address in the clothes of IPv6.
                self._family, self._plen, self._addr = socket.AF_INET, 32, self._addr & 0xFFFFFFFF

    addr = property(lambda self: self._addr)
    family = property(lambda self: self._family)
    familyStr = property(lambda self: self.FAM2STR.get(self._family))
    plen = property(lambda self: self._plen)
    raw = property(lambda self: self._raw)
    isIPv4 = property(lambda self: self._family == socket.AF_INET)
    isIPv6 = property(lambda self: self._family == socket.AF_INET6)
    isValid = property(lambda self: self._family != socket.AF_UNSPEC)
    isSingle = property(lambda self: self.BITS.get(self._family) == self._plen)

    @property
    def ntoa(self):
        """The canonical text, with the prefix where it is a network."""
        bits = self.BITS.get(self._family)
        if bits is None:
            return self._raw
        text = socket.inet_ntop(self._family, self._addr.to_bytes(bits // 8, "big"))
        return "%s/%d" % (text, self._plen) if 0 < self._plen < bits else text

    @property
    def hexdump(self):
        bits = self.BITS.get(self._family)
        return "%0*x" % (bits // 4, self._addr) if bits else ""

    @property
    def maskplen(self):
        """The length of the prefix that this address, taken as a mask, stands for."""
        bits = self.BITS.get(self._family, 0)
        ones = bin(self._addr).count("1")
        if not bits or self._addr != ((1 << ones) - 1) << (bits - ones):
            raise ValueError("invalid mask %r, no plen representation" % (str(self),))
        return ones

    @staticmethod
    def masktoplen(mask):
        return IPAddr(mask).maskplen

    def getPTR(self, suffix=None):
        """The name to look up for the name of this address."""
        if self.isIPv4:
            parts, tail = self.ntoa.split("."), "in-addr.arpa."
        elif self.isIPv6:
            parts, tail = list(self.hexdump), "ip6.arpa."
        else:
            return ""
        return "%s.%s" % (".".join(reversed(parts)), tail if suffix is None else suffix)

    def getHost(self):
        return host_name(self.ntoa)

    def isInNet(self, net):
        if self._family != net.family or self._family not in self.BITS:
            return False
        free = self.BITS[self._family] - net.plen
        return self._addr >> free == net.addr >> free

    def contains(self, ip):
        return isinstance(ip, IPAddr) and (ip == self or ip.isInNet(self))

    def __repr__(self):
        return repr(self.ntoa)

    def __str__(self):
        return str(self.ntoa)

    def __hash__(self):
        # As its text: the two compare equal.
        return hash(self.ntoa)

    def _like(self, other):
        if self._family == self.CIDR_RAW and not isinstance(other, IPAddr):
            return IPAddr(other, self.CIDR_RAW)
        return other if isinstance(other, IPAddr) else IPAddr(other)

    def __eq__(self, other):
        if other is None:
            return False
        other = self._like(other)
        if self._family != other._family:
            return False
        if self._family not in self.BITS:
            return self._raw == other._raw
        return (self._addr, self._plen) == (other._addr, other._plen)

    def __ne__(self, other):
        return not self == other

    def __lt__(self, other):
        if other is None:
            return False
        other = self._like(other)
        if self._family not in self.BITS and self._family == other._family:
            return self._raw < other._raw
        return self._family < other._family or self._addr < other._addr

    def __add__(self, other):
        return str(self) + str(other)

    def __radd__(self, other):
        return str(other) + str(self)

    def __reduce__(self):
        return (str, (str(self),))


# --- what an action is told ---------------------------------------------------------------------


class CallingMap(MutableMapping):
    """A mapping whose callable values are called when they are first looked at."""

    def __init__(self, *args, **kwargs):
        self.data = dict(*args, **kwargs)
        self.storage = {}
        self.immutable = True

    def reset(self, immutable=True):
        """Forgets what was set and what was computed."""
        self.data = self.__dict__.pop("_untouched", self.data)
        self.storage = {}
        self.immutable = immutable

    def _own(self):
        """Before a change: whoever else holds the same values keeps them as they are."""
        if self.immutable:
            self._untouched = self.data
            self.data, self.storage = dict(self.data), dict(self.storage)
            self.immutable = False

    def getRawItem(self, key):
        return self.storage[key] if key in self.storage else self.data[key]

    def __getitem__(self, key):
        value = self.getRawItem(key)
        if callable(value):
            code = getattr(value, "__code__", None)
            value = value(self) if code is not None and code.co_argcount else value()
            self.storage[key] = value
        return value

    def __setitem__(self, key, value):
        self._own()
        self.storage[key] = value

    def __delitem__(self, key):
        self._own()
        missing = object()
        found = [part.pop(key, missing) for part in (self.storage, self.data)]
        if all(value is missing for value in found):
            raise KeyError(key)

    def __iter__(self):
        return iter(self.data)

    def __len__(self):
        return len(self.data)

    def copy(self):
        new = self.__class__(dict(self.data))
        new.data.update(self.storage)
        return new

    def _asdict(self, calculated=False):
        keys = list(self.data) + [key for key in self.storage if key not in self.data]
        if not calculated:
            return dict((k, self.getRawItem(k)) for k in keys if not callable(self.getRawItem(k)))
        found = {}
        for key in keys:
            try:
                found[key] = self[key]
            except Exception:
                # What cannot be computed is left out of a description.
                continue
        return found

    def __repr__(self):
        return "%s(%r)" % (self.__class__.__name__, self._asdict())


def identity(told):
    """What is banned: an address or network, a tuple, or any text, which is not looked into."""
    if isinstance(told, str):
        return IPAddr(told)
    if "raw" not in told:
        return IPAddr(python(told))
    text = IPAddr("")
    text._raw = told["raw"]
    return text


class Ticket(object):
    """A ban, as the server describes it."""

    def __init__(self, told):
        self.fid = identity(told["fid"])
        self.ip = identity(told["ip"])
        self.time = told["time"]
        self.bantime = told["bantime"]
        self.bancount = told["bancount"]
        self.restored = told["restored"]
        self.data = {"matches": told["matches"], "failures": told["failures"]}
        if told["ip"] != told["fid"]:
            self.data["ip"] = self.ip
        for name, value in told["fields"]:
            self.data[name] = python(value)

    def lines(self):
        return [line if isinstance(line, str) else "".join(line) for line in self.data["matches"]]

    def __repr__(self):
        return "BanTicket: ip=%s time=%s bantime=%s bancount=%s #attempts=%d matches=%r" % (
            self.fid,
            self.time,
            self.bantime,
            self.bancount,
            self.data["failures"],
            self.data["matches"],
        )


class ActionInfo(CallingMap):
    """What there is to know of a ban; what costs something is asked for when it is wanted."""

    ITEMS = {
        "ip": lambda self: self._ticket.ip,
        "family": lambda self: self["ip"].familyStr,
        "ip-rev": lambda self: self["ip"].getPTR(""),
        "ip-host": lambda self: self["ip"].getHost(),
        "fid": lambda self: self._ticket.fid,
        "failures": lambda self: self._ticket.data["failures"],
        "time": lambda self: self._ticket.time,
        "bantime": lambda self: self._ticket.bantime,
        "bancount": lambda self: self._ticket.bancount,
        "matches": lambda self: "\n".join(self._ticket.lines()),
        "restored": lambda self: self._ticket.restored,
        "F-*": lambda self: self._ticket.data,
        "ipmatches": lambda self: "\n".join(self._past("all")[0]),
        "ipjailmatches": lambda self: "\n".join(self._past("jail")[0]),
        "ipfailures": lambda self: self._past("all")[1],
        "ipjailfailures": lambda self: self._past("jail")[1],
        "raw-ticket": lambda self: repr(self._ticket),
        "jail.name": lambda self: self._jail.name,
        "jail.banned": lambda self: self._jail.actions.banManager.size(),
        "jail.banned_total": lambda self: self._jail.actions.banManager.getBanTotal(),
        "jail.found": lambda self: self._jail.filter.failManager.size(),
        "jail.found_total": lambda self: self._jail.filter.failManager.getFailTotal(),
    }

    def __init__(self, ticket, jail, ask):
        CallingMap.__init__(self)
        self.data = self.ITEMS
        self._ticket, self._jail, self._ask = ticket, jail, ask
        self._found = {}

    def _past(self, scope):
        """Lines and failures of all earlier bans, in this jail or in all; else this ban's own."""
        if scope not in self._found:
            self._found[scope] = self._ask({"past": scope})
        own = (self._ticket.lines(), self._ticket.data["failures"])
        return self._found[scope] or own

    def copy(self):
        new = ActionInfo(self._ticket, self._jail, self._ask)
        new.data = dict(self.data)
        new.storage = dict(self.storage)
        return new


class Part(object):
    """Something of a jail that exists here as far as actions ask for it."""

    def __init__(self, what, **has):
        self.__dict__.update(has)
        self._what = what

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        has = sorted(key for key in self.__dict__ if not key.startswith("_"))
        raise AttributeError(
            "%s of a jail has no %r here; there is: %s" % (self._what, name, ", ".join(has))
        )


class Jail(object):
    """What an action may ask of its jail."""

    def __init__(self, name):
        self.name = name
        self.database = None
        told = self._told = {}
        manager = Part(
            "actions.banManager",
            size=lambda: told["banned"],
            getBanTotal=lambda: told["banned_total"],
            getBanTime=lambda: told["bantime"],
        )
        self.actions = Part(
            "actions",
            banManager=manager,
            getBanTime=lambda: told["bantime"],
            # Counted up by actions that want every ban repeated.
            banEpoch=0,
        )
        fails = Part(
            "filter.failManager",
            size=lambda: told["found"],
            getFailTotal=lambda: told["found_total"],
        )
        self.filter = Part("filter", failManager=fails)

    def __repr__(self):
        return "Jail(%r)" % self.name

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError("a jail has no %r here; there is: actions, filter, name" % name)


# Methods without which a class is no action.
REQUIRED = ("start", "stop", "ban", "reban", "unban")


class ActionBase(object, metaclass=ABCMeta):
    """What an action inherits; every method but the constructor may stay as it is."""

    @classmethod
    def __subclasshook__(cls, other):
        # A class that has the methods will do, whatever it inherits.
        return all(callable(getattr(other, name, None)) for name in REQUIRED)

    def __init__(self, jail, name):
        self._jail = jail
        self._name = name
        self._logSys = get_logger("fail2ban." + self.__class__.__name__)

    @property
    def _prolongable(self):
        return False

    def start(self):
        """The jail starts."""

    def stop(self):
        """The jail stops."""

    def ban(self, aInfo):
        """A ban begins."""

    def reban(self, aInfo):
        """A ban may have been lost, and is repeated."""
        return self.ban(aInfo)

    def unban(self, aInfo):
        """A ban is over."""


# --- fail2ban's modules -------------------------------------------------------------------------


class MyTime(object):
    """The clock, under fail2ban's name."""

    gmtime = staticmethod(time.gmtime)
    localtime = staticmethod(time.localtime)
    time = staticmethod(time.time)

    @staticmethod
    def time2str(unixTime, format="%Y-%m-%d %H:%M:%S"):
        return time.strftime(format, time.localtime(unixTime))


class DNSUtils(object):
    """Look-ups, under fail2ban's name."""

    ipToName = staticmethod(host_name)

    @staticmethod
    def dnsToIp(dns):
        try:
            found = socket.getaddrinfo(dns, None, 0, 0, socket.IPPROTO_TCP)
        except (OSError, UnicodeError):
            return []
        return [IPAddr(text) for text in sorted(set(entry[4][0] for entry in found))]

    @staticmethod
    def getHostname(fqdn=True):
        return socket.getfqdn() if fqdn else socket.gethostname()


def format_exception_info():
    kind, error = sys.exc_info()[:2]
    return (kind.__name__, str(error))


def splitwords(text):
    """Words between commas and white space."""
    return (text or "").replace(",", " ").split()


def string_log_level(value):
    if isinstance(value, int) or value.isdigit():
        return int(value)
    level = getattr(logging, value.upper(), None)
    if not isinstance(level, int):
        raise ValueError("Invalid log level %r" % value)
    return level


def uni_string(value):
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def uni_decode(value, enc="utf-8", errors="replace"):
    return value.decode(enc, errors) if isinstance(value, bytes) else value


MODULES = {
    "fail2ban": {},
    "fail2ban.version": {"version": "1.1.1"},
    "fail2ban.helpers": {
        "getLogger": get_logger,
        "formatExceptionInfo": format_exception_info,
        "splitwords": splitwords,
        "str2LogLevel": string_log_level,
        "uni_string": uni_string,
        "uni_decode": uni_decode,
    },
    "fail2ban.server": {},
    "fail2ban.server.action": {"ActionBase": ActionBase, "CallingMap": CallingMap},
    "fail2ban.server.actions": {"ActionBase": ActionBase, "CallingMap": CallingMap},
    "fail2ban.server.ipdns": {"IPAddr": IPAddr, "DNSUtils": DNSUtils},
    "fail2ban.server.mytime": {"MyTime": MyTime},
}


def install_modules():
    """Puts our modules before any that are installed."""
    offered = ", ".join(
        "%s (%s)" % (name, ", ".join(sorted(has))) for name, has in sorted(MODULES.items()) if has
    )
    for name, has in MODULES.items():
        module = types.ModuleType(name, "Part of fail2ban's interface for actions.")
        module.__dict__.update(has)
        module.__path__ = []

        def missing(attribute, name=name):
            if attribute.startswith("__"):
                raise AttributeError(attribute)
            raise ImportError(
                "%s has no %s here: an action of its own process can have %s"
                % (name, attribute, offered)
            )

        module.__getattr__ = missing
        sys.modules[name] = module
    for name in MODULES:
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, sys.modules[name])


# --- the action ---------------------------------------------------------------------------------


def shown(error):
    """An exception in one line."""
    return clean(str(error)) or error.__class__.__name__


def compiled(path):
    """The code of a file; nothing is written beside it."""
    with open(path, "rb") as file:
        return compile(file.read(), path, "exec", dont_inherit=True)


def load_module(path):
    name = os.path.splitext(os.path.basename(path))[0]
    code = compiled(path)
    module = types.ModuleType(name)
    module.__file__ = path
    sys.modules[name] = module
    exec(code, module.__dict__)
    return module


def without_effect():
    """Byte code of functions that do nothing, or only return a constant."""

    def bare(self, aInfo):
        pass

    def described(self, aInfo):
        """It is described."""

    def constant(self, aInfo):
        return True

    def described_constant(self, aInfo):
        """It is described."""
        return True

    functions = (bare, described, constant, described_constant)
    return [function.__code__.co_code for function in functions]


def enforces(action):
    """Whether bans are in force because of it: it has something to take back."""
    code = getattr(getattr(action, "unban", None), "__code__", None)
    return code is None or code.co_code not in without_effect()


class Host(object):
    """Does what the server asks for."""

    def __init__(self, wire):
        self._wire = wire
        self._asking = threading.Lock()
        self._in_call = False
        self._jail = None
        self._action = None

    def answer(self, request):
        """The answer to one request; whatever the action does, there is one."""
        self._in_call = True
        try:
            answer = getattr(self, "do_" + request["do"])(request)
        except SystemExit as error:
            text = "the action called sys.exit(%s)" % ("" if error.code is None else error.code)
            answer = {"failed": ["Exception", clean(text)]}
        except BaseException as error:
            answer = {"failed": [error.__class__.__name__, shown(error)]}
            self._explain()
        with self._asking:
            self._in_call = False
        answer["timeout"] = self._timeout()
        answer["epoch"] = self._epoch()
        text = json.dumps(answer)
        if len(text) > LINE_MAX:
            answer = {"failed": ["Exception", "the value is longer than a client may get"]}
            text = json.dumps(answer)
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:
                # The action closed or replaced it.
                continue
        return text

    def _explain(self):
        """Where the last exception came from, for whoever looks at debug messages."""
        try:
            text = traceback.format_exc()
            name = self._action.__class__.__name__ if self._action else "action"
            get_logger("fail2ban." + name).debug("%s", text)
        except Exception:
            # An exception that cannot even be shown has been answered all the same.
            return

    def _timeout(self):
        try:
            return min(max(float(self._action.timeout), 0.0), 1e9)
        except (AttributeError, TypeError, ValueError):
            return TIMEOUT

    def _epoch(self):
        epoch = getattr(self._action, "banEpoch", 0)
        return epoch if isinstance(epoch, int) else 0

    def _ask(self, question):
        """Asks the server; None for an action that asks after its call has ended."""
        with self._asking:
            if not self._in_call:
                return None
            self._wire.send({"ask": question})
            answer = self._wire.receive()
        return answer["told"] if answer else None

    def do_check(self, request):
        """What is wrong with each of these files, as far as one can tell without running them."""
        return {"done": [self._fault(path) for path in request["files"]]}

    def _fault(self, path):
        try:
            code = compiled(path)
        except (OSError, SyntaxError, ValueError) as error:
            return shown(error)
        if "Action" in code.co_names or "import *" in open(path, errors="replace").read():
            return None
        return "%s module does not have 'Action' class" % path

    def do_load(self, request):
        path = request["file"]
        self._jail = Jail(request["jail"])
        self._told(request)
        module = load_module(path)
        kind = getattr(module, "Action", None)
        if kind is None:
            raise RuntimeError("%s module does not have 'Action' class" % path)
        if not issubclass(kind, ActionBase):
            raise RuntimeError(
                "%s module %s does not implement required methods" % (path, kind.__name__)
            )
        action = kind(self._jail, request["name"], **json.loads(request["params"]))
        self._action = action
        for name, value in request["properties"]:
            self._set(name, value)
        has = dict((name, hasattr(action, name)) for name in ("flush", "reload"))
        has["check"] = hasattr(action, "consistencyCheck")
        has["prolong"] = bool(getattr(action, "_prolongable", False))
        has["enforces"] = enforces(action)
        return {"done": has}

    def _told(self, request):
        self._jail._told.update(request["jail_facts"])

    def do_ban(self, request):
        """Calls the method of a life cycle that `call` names, where it applies."""
        self._told(request)
        action, name = self._action, request["call"]
        ticket = Ticket(request["ticket"])
        if name in ("ban", "prolong") and ticket.restored and getattr(action, "norestored", False):
            return {"done": None}
        if name == "prolong" and not getattr(action, "_prolongable", False):
            return {"done": None}
        getattr(action, name)(ActionInfo(ticket, self._jail, self._ask))
        return {"done": None}

    def do_life(self, request):
        """Calls a method that concerns the action as a whole."""
        self._told(request)
        name = request["call"]
        if name == "reload":
            if hasattr(self._action, "clearAllParams"):
                self._action.clearAllParams()
            self._action.reload(**json.loads(request["params"]))
            return {"done": True}
        return {"done": bool(getattr(self._action, name)())}

    def do_get(self, request):
        self._told(request)
        return {"done": plain(getattr(self._action, request["name"]))}

    def do_set(self, request):
        """Sets properties, or calls what turns out to be a method; the last value counts."""
        self._told(request)
        value, kept = None, []
        for name, new in request["values"]:
            value, attribute = self._set(name, new)
            if attribute:
                kept.append([name, new])
        return {"done": plain(value), "kept": kept}

    def _set(self, name, value):
        if callable(getattr(self._action, name, None)):
            arguments = json.loads(value) if value is not None else {}
            return getattr(self._action, name)(**arguments), False
        if value is None:
            raise IndexError("list index out of range")
        setattr(self._action, name, python(value))
        return getattr(self._action, name), True

    def do_properties(self, request):
        return {"done": self._names(lambda value: not callable(value))}

    def do_methods(self, request):
        return {"done": self._names(callable)}

    def _names(self, wanted):
        names = [name for name in dir(self._action) if not name.startswith("_")]
        return [name for name in names if wanted(getattr(self._action, name))]


def die_with_server():
    """A server that is killed takes us along, even in the middle of a call."""
    try:
        import ctypes

        # PR_SET_PDEATHSIG, SIGKILL
        ctypes.CDLL(None).prctl(1, 9)
    except Exception:
        # Then the end of our input ends us, once the call is over.
        return


def main():
    wire = Wire()
    try:
        import faulthandler

        faulthandler.enable()
    except Exception:
        # It only helps to understand a crash.
        pass
    die_with_server()
    forward_log(wire)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=wire.detach)
    wire.send({"hello": "%d.%d.%d" % sys.version_info[:3]})
    host = Host(wire)
    while True:
        request = wire.receive()
        if request is None:
            return
        wire.write(host.answer(request))


add_log_levels()
install_modules()
# As the module `fail2ban` it only offers what can be imported.
if __name__ == "__main__":
    main()
