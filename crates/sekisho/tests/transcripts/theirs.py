"""Drives fail2ban's own server objects through the lives of stock actions.

Arguments: the configuration folder, the folder of the stand-ins. One life per line of standard
input, as JSON; answered by what each of its steps called and left behind. The clock stands still
but for the steps that move it, and no thread runs: what fail2ban's threads would do next is done
here, by the same methods, before the next step. `rules.py` comes before this file.
"""
import json
import logging
import os
import shutil
import subprocess
import sys

# The pipes of this script are not for the programs that are run.
questions = os.fdopen(os.dup(0), encoding='utf-8')
answers = os.fdopen(os.dup(1), 'w', encoding='utf-8')
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
os.dup2(2, 1)

from fail2ban.client.jailsreader import JailsReader
from fail2ban.server import observer
from fail2ban.server.ipdns import DNSUtils, IPAddr
from fail2ban.server.jail import Jail
from fail2ban.server.mytime import MyTime
from fail2ban.server.server import Server
from fail2ban.server.ticket import FailTicket

BASE, FOLDER = sys.argv[1:3]


class Log(logging.Handler):
    """Keeps what a life wrote to the log, to be shown where it differs."""
    lines = []

    def emit(self, record):
        self.lines.append('%s %s' % (record.levelname, record.getMessage()))


root.handlers, root.propagate = [Log()], False
root.setLevel(logging.INFO)

# No name server is asked.
DNSUtils.ipToName = staticmethod(
    lambda ip: 'localhost' if str(ip) == "127.0.0.1" else None)


# A fork of this process for each command would take most of the time.
popen = subprocess.Popen
subprocess.Popen = lambda *args, preexec_fn, **more: popen(
    *args, start_new_session=preexec_fn is os.setsid, **more)


class Watch(observer.ObserverThread):
    """The observer, without its thread: what it has been told is done by `work`."""

    def __init__(self):
        super().__init__()
        self.todo = []

    def add(self, event, *args):
        # In a real server either may come first, the action's commands or what the observer does
        # with the ban; a ban that is on its way is in the database, unless its time has to be found.
        if event == 'banFound' and not args[1].getBanTimeExtra('increment'):
            self.banFound(*args)
        else:
            self.todo.append((event, args))

    def add_timer(self, _, event, *args):
        self.todo.append((event, args))

    def work(self):
        while self.todo:
            event, args = self.todo.pop(0)
            (event if callable(event) else getattr(self, event))(*args)


def start(jail):
    jail.up = True
    for name, action in jail.actions._actions.items():
        try:
            action.start()
        except Exception as e:
            root.error('start of %s: %s', name, e)
    jail.restoreCurrentBans()


def stop(jail, stop=True, join=True):
    if jail.isAlive():
        jail.up = False
        jail.actions._Actions__flushBan(**STOP)
        jail.actions.stopActions()


Jail.start, Jail.stop = start, stop
Jail.isAlive = lambda jail: getattr(jail, 'up', False)
STOP = {'stop': True}


def read_jails():
    """The commands of each jail."""
    reader = JailsReader(basedir=BASE)
    if not (reader.read() and reader.getOptions(None) is not False):
        raise SystemExit('the configuration cannot be read:\n' + '\n'.join(Log.lines))
    jails = {}
    for command in reader.convert(allow_no_files=True):
        if command[0] == 'config-error':
            raise SystemExit(command[1])
        jails.setdefault(command[1], []).append(command)
    return jails


JAILS = read_jails()


class Life:
    def __init__(self, life):
        self.name = life['jail']
        self.stream = [with_parameters(c, life['given']) for c in JAILS[self.name]]
        DNSUtils.setIPv6IsAllowed(life['ipv6'])
        self.server = Server()
        self.server.setDatabase(':memory:')
        self.watch = observer.Observers.Main = Watch()
        MyTime.setTime(float(life['now']))
        clock['steady'] = 0

    def command(self, *words):
        code, answer = self.server._Server__transm.proceed(list(words))
        if code:
            root.info('refused: %r: %r', words, answer)

    @property
    def jail(self):
        jails = self.server._Server__jails
        return jails[self.name] if jails.exists(self.name) else None

    def step(self, step):
        do = step['do']
        if do == 'start':
            self.command('server-stream', self.stream)
        elif do == 'fail':
            for line in step['lines']:
                self.fail(step, line)
        elif do == 'set':
            self.command('set', self.name, *step['words'])
        elif do == 'unban all':
            self.command('unban', '--all')
        elif do == 'pass':
            MyTime.setTime(MyTime.time() + step['seconds'])
            clock['steady'] += step['seconds']
            if self.jail:
                self.unban_ended()
                try_again(self.jail.actions)
        elif do == 'reload':
            self.command('reload', '--all', [], self.stream)
        elif do == 'stop':
            self.command('stop', self.name)
        else:
            raise ValueError(do)
        self.settle()
        MyTime.setTime(MyTime.time() + 1)

    def fail(self, step, line):
        if not (self.jail and self.jail.isAlive()):
            return
        found = dict(step['fields'], matches=[line])
        if 'address' in step:
            found['ip'] = IPAddr(step['address'])
        filter = self.jail.filter
        ticket = FailTicket(step['id'], MyTime.time(), data=found)
        if filter.failManager.addFailure(ticket) >= filter.failManager.getMaxRetry():
            filter.performBan(ticket.getID())

    def unban_ended(self):
        self.jail.actions._Actions__checkUnBan(self.jail.actions.unbanMaxCount)

    def settle(self):
        """What the threads would do by now."""
        while True:
            jail = self.jail
            if not (jail and jail.isAlive()):
                return
            while jail.hasFailTickets:
                jail.actions._Actions__checkBan()
            ban_again(jail.actions)
            self.watch.work()
            self.unban_ended()
            if not (jail.hasFailTickets or self.watch.todo):
                return


def clear(folder):
    for name in ('record', 'count', 'trouble'):
        if os.path.exists(os.path.join(folder, name)):
            os.unlink(os.path.join(folder, name))


def text(path):
    with open(path, 'rb') as file:
        return file.read().decode('utf-8', 'replace')


def left_behind(folder):
    """What was called in this step, and all files as they are now."""
    record = os.path.join(folder, 'record')
    seen = {'called': text(record) if os.path.exists(record) else ''}
    below = os.path.join(folder, 'files')
    for at, _, names in os.walk(below):
        for name in names:
            path = os.path.join(at, name)
            seen[os.path.relpath(path, below)] = text(path)
    return {key: value.replace(folder, '%D') for key, value in seen.items()}


def live(question):
    Log.lines.clear()
    used.clear()
    shutil.rmtree(os.path.join(FOLDER, 'files'))
    shutil.copytree(os.path.join(FOLDER, 'fresh'), os.path.join(FOLDER, 'files'))
    with open(os.path.join(FOLDER, 'variant'), 'w') as file:
        file.write('%s %s\n' % (question['answers'], question['jail']))
    life, seen = Life(question), []
    for step in question['steps']:
        clear(FOLDER)
        if 'trouble' in step:
            with open(os.path.join(FOLDER, 'trouble'), 'w') as file:
                file.write(step['trouble'] + '\n')
        life.step(step)
        seen.append(left_behind(FOLDER))
    clear(FOLDER)
    return {'steps': seen, 'log': list(Log.lines), 'rules': sorted(used)}


for line in questions:
    answers.write(json.dumps(live(json.loads(line))) + '\n')
    answers.flush()
