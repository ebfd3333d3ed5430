"""Plays sequences against fail2ban's own jails, with its clock set by hand and its threads not running.

One JSON value per line in, one out: a list of steps in, a list of what was seen after each step out.
The threads' work is done here in the order in which they usually come to it: filter, observer,
actions, observer again. What sekisho does differently on purpose is undone in the functions whose
names begin with `undo_`; each names the row of docs/COMPAT.md that says so.
"""
import json
import logging
import os
import random
import sys
import time

os.environ['TZ'] = 'UTC'
time.tzset()

from fail2ban.server import actions, failmanager, observer
from fail2ban.server.database import Fail2BanDb
from fail2ban.server.ipdns import DNSUtils
from fail2ban.server.mytime import MyTime
from fail2ban.server.observer import ObserverThread, Observers
from fail2ban.server.server import Server
from fail2ban.server.ticket import FailTicket
from fail2ban.version import version

NEWEST = tuple(int(n) for n in version.split('.')[:3]) >= (1, 1, 1)
PURGE_EVERY = 3600
DNSUtils.dnsToIp = staticmethod(lambda name: set())


class Log(logging.Handler):
    """Keeps the lines that name a jail, as the log would show them."""

    def __init__(self):
        logging.Handler.__init__(self)
        self.lines = []

    def emit(self, record):
        text = record.getMessage()
        if record.name == 'fail2ban.transmitter':
            pass
        elif record.levelno >= logging.ERROR:
            # Texts of errors are ours on purpose; that there was one is compared.
            self.lines.append('ERROR')
        elif text.startswith('[') and 'log entr' not in text and 'odd timestamp' not in text:
            self.lines.append('%s %s' % (record.levelname, text))

    def take(self):
        lines, self.lines = self.lines, []
        return sorted(lines)


class Randomness:
    """sekisho's generator: one number for each ban whose time is increased."""

    def __init__(self):
        self.state = self.last = 1

    def advance(self):
        x = self.state
        x ^= x >> 12
        x ^= (x << 25) & 0xffffffffffffffff
        x ^= x >> 27
        self.state = x
        self.last = ((x * 0x2545f4914f6cdd1d & 0xffffffffffffffff) >> 11) / float(1 << 53)


LOG = Log()
CHANCE = Randomness()
random.random = lambda: CHANCE.last


class BanTimeIncr:
    """What a formula sees of a ban; made once for each increase."""

    def __init__(self, time, count):
        CHANCE.advance()
        self.Time, self.Count = time, count


ObserverThread.BanTimeIncr = BanTimeIncr


def micros(seconds):
    return round(seconds * 1000000)


class Recorder:
    """An action that writes down what it is told."""

    banEpoch = 0
    _prolongable = True

    def __init__(self, jail, did):
        self.jail, self.did = jail, did

    def tell(self, what, info):
        ticket = info._ActionInfo__ticket
        self.did.append('%s %s %s at=%d bantime=%s bancount=%s failures=%s restored=%s user=%s lines=%s' % (
            self.jail.name, what, info['fid'], micros(ticket.getTime()), info['bantime'], info['bancount'],
            info['failures'], info['restored'], ticket.getData('user'), '|'.join(ticket.getMatches())))

    def ban(self, info):
        self.tell('ban', info)

    def unban(self, info):
        self.tell('unban', info)

    def prolong(self, info):
        self.tell('prolong', info)

    def reban(self, info):
        self.tell('reban', info)

    def consistencyCheck(self):
        self.did.append('%s check' % self.jail.name)


def undo_observed_failures():
    """"a failure of an id known as bad counts its lines and `<failures>` twice", and
    "`maxmatches` holds from the second failure on"."""
    plain = failmanager.FailManager.addFailure

    def add(self, ticket, count=1, observed=False):
        failures = self._FailManager__failList
        known = failures.get(ticket.getID())
        before = known and (known.getAttempt(), known.getMatches())
        self.newest = ticket
        result = plain(self, ticket, count, observed)
        known = failures.get(ticket.getID())
        if known is not None:
            if observed and before:
                known.setAttempt(before[0])
                known.setMatches(before[1])
            lines = known.getMatches()
            known._data['matches'] = lines[-self.maxMatches:] if self.maxMatches else []
        return result

    failmanager.FailManager.addFailure = add


def undo_bans_of_others():
    """"after `maxretry` was lowered, a failure of one id may ban another"."""
    plain = failmanager.FailManager.toBan

    def to_ban(self, fid=None):
        if fid is not None and fid not in self._FailManager__failList:
            raise failmanager.FailManagerEmpty
        return plain(self, fid)

    failmanager.FailManager.toBan = to_ban


def undo_late_ban_count(jail):
    """"`<bancount>` of an id that one failure gets banned depends on which thread is faster"."""
    plain, counts = jail.putFailTicket, {}

    def put(ticket):
        counts[id(ticket)] = ticket.getBanCount()
        plain(ticket)

    def forget():
        for ticket in jail._Jail__queue.queue:
            ticket._banCount = counts[id(ticket)]
        counts.clear()

    jail.putFailTicket, jail.forget_late_counts = put, forget


def undo_next_unban_time(jail):
    """"a ban time that became shorter counts when another ban ends"."""
    jail.actions.banManager._nextUnbanTime = 0


undo_observed_failures()
undo_bans_of_others()


class World:
    """One run of a server after another, with one database."""

    def __init__(self):
        self.db = Fail2BanDb(':memory:')
        self.did = []

    def begin(self, stored, purge_age):
        self.server = self.next_purge = None
        self.stored = stored
        self.db._purgeAge = purge_age
        with self.db._db:
            for table in ('bips', 'bans', 'logs', 'jails'):
                self.db._db.execute('DELETE FROM %s' % table)

    def start(self, commands):
        self.stop()
        CHANCE.state = 1
        server = self.server = Server(False)
        watch = Observers.Main = ObserverThread()
        # "`actionprolong` comes up to 10 s later": now.
        watch.add_timer = lambda delay, *event: watch.add(*event)
        if self.stored:
            self.db.delAllJails()
            server._Server__db = self.db
        self.next_purge = MyTime.time() + PURGE_EVERY
        for words in commands:
            done, value = server._Server__transm.proceed(words)
            if done:
                raise value
        self.jails = [server._Server__jails[name] for name in server._Server__jails]
        for jail in self.jails:
            jail.isAlive = lambda: True
            undo_late_ban_count(jail)
            jail.actions._actions['a'] = Recorder(jail, self.did)
            jail.restoreCurrentBans()

    def stop(self):
        if self.server is None:
            return
        before, LOG.lines = LOG.lines, []
        for jail in self.jails:
            jail.actions._Actions__flushBan(stop=True)
        # Versions before 1.1.1 have another word for it: docs/COMPAT.md, "1.0.2 against 1.1".
        LOG.lines = before + [line.replace('] Unban ', '] Repeal Ban ') for line in LOG.lines]

    def jail(self, name):
        return self.server._Server__jails[name]

    def work(self):
        """Observer and actions, until there is nothing left to do."""
        while True:
            queue = Observers.Main._queue
            while queue:
                what, *about = queue.pop(0)
                (what if callable(what) else getattr(Observers.Main, what))(*about)
            # 0 is "nobody new": another ticket may still wait.
            busy = [jail for jail in self.jails if jail.hasFailTickets]
            for jail in busy:
                jail.forget_late_counts()
                jail.actions._Actions__checkBan()
            if not busy and not queue:
                return

    def tick(self):
        now = MyTime.time()
        if now >= self.next_purge:
            before = len(self.rows())
            if self.stored:
                self.db.purge()
            if len(self.rows()) < before:
                self.did.append('purged')
            self.next_purge = now + PURGE_EVERY
        for jail in self.jails:
            undo_next_unban_time(jail)
            while jail.actions._Actions__checkUnBan(20):
                undo_next_unban_time(jail)
            jail.filter.performSvc()

    def attempt(self, words):
        """`attempt` as 1.1.1 understands it: docs/COMPAT.md, "1.0.2 against 1.1"."""
        jail = self.jail(words[1])
        ticket = FailTicket(words[3], MyTime.time(), matches=words[4:])
        if jail.filter._inIgnoreIPList(ticket.getID(), ticket):
            return 0
        reply = jail.filter.addAttempt(words[3], *words[4:])
        Observers.Main.add('failureFound', jail, jail.filter.failManager.newest)
        return reply

    def do(self, kind, *args):
        reply = None
        if kind == 'start':
            self.start(*args)
        elif kind == 'failures':
            name, failures = args
            for failure, at, data in failures:
                data = {k: v for k, v in data.items()}
                jail = self.jail(name)
                jail.filter.processLine = lambda line, date: [(None, failure, at, data)]
                jail.filter.processLineAndAdd('', None)
                del jail.filter.processLine
                self.work()
        elif kind == 'lines':
            name, live, lines = args
            jail = self.jail(name)
            jail.filter.inOperation = live
            for line in lines:
                jail.filter.processLineAndAdd(line)
                self.work()
        elif kind == 'command':
            words = args[0]
            if 'attempt' in words[2:3] and not NEWEST:
                reply = self.attempt(words)
            else:
                done, reply = self.server._Server__transm.proceed(words)
                if done:
                    reply = 'error'
        self.work()
        return reply

    def status(self, name):
        (_, found), (_, banned) = self.jail(name).status()
        values = [value for key, value in found + banned if key != 'File list']
        values[-1] = sorted(str(id) for id in values[-1])
        ends = self.jail(name).actions.getBanList(withTime=True)
        return values + [sorted(ends)]

    def rows(self):
        found = []
        for jail, ip, at, length, count, data in self.db._db.execute(
                'SELECT jail, ip, timeofban, bantime, bancount, data FROM bips'):
            lines = [line if isinstance(line, str) else ''.join(line) for line in data.get('matches', [])]
            found.append('%s %s at=%d bantime=%d bancount=%d failures=%d user=%s lines=%s' % (
                jail, ip, at, round(length * 1000), count, data['failures'], data.get('user'), '|'.join(lines)))
        return sorted(found)

    def play(self, steps, stored, purge_age):
        self.begin(stored, purge_age)
        seen = []
        for at, *what in steps:
            MyTime.setTime(float(at))
            if self.server:
                self.tick()
            reply = self.do(*what)
            self.tick()
            did, self.did[:] = sorted(self.did), []
            seen.append({
                'did': did, 'log': LOG.take(), 'reply': plain(reply),
                'status': [self.status(jail.name) for jail in self.jails],
                'rows': self.rows() if stored else [],
            })
        return seen


def plain(value):
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return str(value)


logger = logging.getLogger('fail2ban')
logger.handlers = [LOG]
logger.propagate = False
logger.setLevel(logging.INFO)
world = World()
for line in sys.stdin:
    asked = json.loads(line)
    print(json.dumps(world.play(asked['steps'], asked['stored'], asked['purge_age'])), flush=True)
