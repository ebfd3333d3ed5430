"""What sekisho does better on purpose, done to fail2ban too: so whatever else differs is seen.

Each rule replaces a method of fail2ban's, has a name that docs/COMPAT.md tells in its list of
differences, and says where it made one.
"""
import ipaddress
import logging

from fail2ban.server.action import CommandAction
from fail2ban.server.actions import Actions

root = logging.getLogger('fail2ban')
used, originals = set(), {}
started = lambda action: action._CommandAction__started


def rule(name, owner, method):
    """Replaces a method by one that gets the original and says where it made a difference."""
    def decorate(better):
        original = originals[method] = getattr(owner, method)
        setattr(owner, method, lambda *args, **more: better(
            original, lambda: used.add(name), *args, **more))
        return better
    return decorate


@rule('started once', CommandAction, '_start')
def start_what_is_not(original, different, action, family=None, forceStart=False):
    """A ban of an id without family starts the families that are not running, not all."""
    checking = getattr(action, '_checking', False)
    if family is not None or not (forceStart and (action._startOnDemand or checking)):
        return original(action, family, forceStart)
    due = [f for f in action._families if not started(action).get(f)]
    if due != action._families:
        different()
    families = action._properties['__families']
    action._properties['__families'] = due
    try:
        done = original(action, family, forceStart) if due else True
    finally:
        action._properties['__families'] = families
    if checking:
        # Otherwise what was repaired for it is not checked.
        used.add('started again')
        started(action)[None] = 1
    return done


@rule('started again', CommandAction, '_stop')
def forget_start(original, different, action, family=None):
    """A repair stops and starts, also where all families have one environment, or the stop fails."""
    if family is None:
        return original(action, family)
    if family not in started(action) and started(action).get(''):
        different()
        started(action)[family] = 1
    try:
        return original(action, family)
    finally:
        known = action._substCache.get(('__eOpCmd', '<actionstart>'), {})
        command = known.get(family)
        for other in [f for f, c in known.items() if command in (None, c)]:
            used.add('started again')
            del known[other]


@rule('started again', CommandAction, '_invariantCheck')
def start_for_unban(original, different, action, family=None, beforeRepair=None, forceStart=True):
    """And where an unban has found it broken."""
    if not forceStart:
        used.add('started again')
    action._checking = True
    try:
        return original(action, family, beforeRepair, True)
    finally:
        action._checking = False


@rule('checked once', CommandAction, 'consistencyCheck')
def check_each_environment(original, different, action, beforeRepair=None):
    """Families with the same check have one environment."""
    action._seen = set()
    try:
        return original(action, beforeRepair)
    finally:
        del action._seen


@rule('checked once', CommandAction, '_invariantCheck')
def check_if_not_seen(original, different, action, family=None, *args, **more):
    seen = getattr(action, '_seen', None)
    if seen is not None:
        command = get_operation(action, '<actioncheck>', family)
        if command in seen:
            different()
            return 1
        seen.add(command)
        try:
            return original(action, family, *args, **more)
        except RuntimeError as e:
            # A start that fails ends neither the check of other families nor the round of bans.
            used.add('check goes on')
            root.error('%s', e)
            return 0
    return original(action, family, *args, **more)


get_operation = CommandAction._getOperation


@rule('family in checks', CommandAction, '_getOperation')
def replace_family(original, different, action, tag, family):
    """`<family>` is replaced in checks and repairs, too, where it is none."""
    command = original(action, tag, family)
    if tag in ('<actioncheck>', '<actionrepair>') and not family and '<family>' in command:
        different()
        command = command.replace('<family>', str(family))
    return command


@rule('nothing forgotten', CommandAction, '_executeOperation')
def forget_what_ran(original, different, action, tag, operation, family=[], afterExec=None):
    """A command that has run for one family runs again for others the next time."""
    if tag in ('<actionflush>', '<actionreload>', '<actionstop>'):
        known = action._substCache.pop(('__eOpCmd', tag), {})
        for one in family or [f for f, v in started(action).items() if v]:
            if get_operation(action, tag, one) in [c for f, c in known.items() if f != one]:
                different()
    return original(action, tag, operation, family, afterExec)


def order(ticket):
    return order_of(ticket.getID())


def order_of(ip):
    """The order of ids: addresses, networks, other texts."""
    if not ip.isValid:
        return (2, str(ip))
    address = ipaddress.ip_network(str(ip))
    return (0 if ip.isSingle else 1, address.version, int(address.network_address),
            address.prefixlen)


@rule('all banned again', Actions, '_Actions__reBan')
def ban_again_later(original, different, owner, ticket, **more):
    """After a repair every ban is made again, not only those that fail again, and nobody is told of
    it twice; see `ban_again`."""
    return 0


def ban_again(actions):
    for name, action in actions._actions.items():
        while enforces(action):
            tickets = [t for t in actions.banManager
                       if t.banEpoch < action.banEpoch and t.getID() not in action._due
                       and not (t.restored and getattr(action, 'norestored', False))]
            if not tickets:
                break
            for ticket in sorted(tickets, key=order):
                used.add('all banned again')
                originals['_Actions__reBan'](actions, ticket, actions={name: action})
                ticket.banEpoch = action.banEpoch


def attempt(do, *args):
    """Whether it went well; if not, the log says why."""
    try:
        do(*args)
        return True
    except RuntimeError as e:
        root.error('%s', e)
        return False


class Later:
    """What is to be tried again."""

    def __init__(self, ticket, method, sure=True, tries=0):
        self.ticket, self.method, self.sure, self.tries = ticket, method, sure, tries
        self.failed()

    def failed(self):
        self.tries += 1
        self.at = clock['steady'] + min(60, 1 << (self.tries - 1))

    def again(self, action):
        getattr(action, self.method)(action._jail.actions._getActionInfo(self.ticket))


clock = {'steady': 0}


@rule('tried again', CommandAction, '__init__')
def with_memory(original, different, action, *args):
    action._due, action._owed = {}, {}
    original(action, *args)


def enforces(action):
    """Notifications are not tried again."""
    return any(key.split('?')[0] == 'actionunban' and not str(value).isspace() and value
               for key, value in action._properties.items())


def remember_ban(method):
    def ban(original, different, action, info, *command):
        """A ban that failed is tried again; and before it an unban of the same id that failed."""
        ticket = info._ActionInfo__ticket
        key = ticket.getID()
        owed = action._owed.pop(key, None)
        if owed and method == 'ban':
            different()
            if not attempt(owed.again, action):
                action._owed.pop(key, None)
        try:
            done = original(action, info, *command)
        except RuntimeError:
            # A re-ban is a ban with another command: the outer one counts.
            if not enforces(action):
                raise
            if key in action._due:
                action._due[key].method = method
            else:
                action._due[key] = Later(ticket, method)
            raise
        action._due.pop(key, None)
        return done
    return ban


rule('tried again', CommandAction, 'ban')(remember_ban('ban'))
rule('tried again', CommandAction, 'reban')(remember_ban('reban'))


@rule('tried again', CommandAction, 'unban')
def remember_unban(original, different, action, info):
    """An unban that failed is tried again, at a stop at once."""
    ticket = info._ActionInfo__ticket
    key = ticket.getID()
    sure = action._due.pop(key, None) is None
    try:
        return original(action, info)
    except RuntimeError:
        known = action._owed.get(key)
        if known:
            known.failed()
        else:
            action._owed[key] = Later(ticket, 'unban', sure)
        raise


def try_again(actions, now=False):
    """What is due by the steady clock; or what is owed, now."""
    for action in actions._actions.values():
        for key in sorted(action._owed, key=order_of):
            later = action._owed[key]
            if not (now or later.at <= clock['steady']):
                continue
            used.add('tried again')
            tries = later.tries
            attempt(later.again, action)
            if later.tries == tries or later.tries >= (3 if now or not later.sure else 8):
                action._owed.pop(key, None)
        if now:
            continue
        due = sorted(action._due.items(), key=lambda item: (item[1].at, order_of(item[0])))
        for key, later in due:
            if later.at > clock['steady']:
                continue
            used.add('tried again')
            tries = later.tries
            if not attempt(later.again, action):
                later.failed()


@rule('flush made up for', CommandAction, 'flush')
def remember_flush(original, different, action):
    action._not_flushed = False
    try:
        return original(action)
    except RuntimeError:
        action._not_flushed = True
        raise


@rule('flush made up for', Actions, '_Actions__flushBan')
def flush_or_unban(original, different, actions, *args, stop=False, **more):
    """Where all bans cannot be taken back in one stroke, each is."""
    tickets = list(actions.banManager)
    for action in actions._actions.values():
        owed = [action._owed.pop(key) for key in sorted(action._owed, key=order_of)]
        for later in owed:
            if not action.actionflush:
                used.add('tried again')
                attempt(later.again, action)
        action._not_flushed, action._lost = False, owed
    count = original(actions, *args, stop=stop, **more)
    for action in actions._actions.values():
        if action._not_flushed:
            different()
            for ticket in [later.ticket for later in action._lost] + tickets:
                attempt(action.unban, actions._getActionInfo(ticket))
    while stop and any(action._owed for action in actions._actions.values()):
        try_again(actions, now=True)
    return count


def with_parameters(command, given):
    """What a jail gives to an action holds for all families, as since 1.1.1."""
    if command[0] != 'multi-set' or command[2] != 'action':
        return command
    values = dict(command[4])
    better = [[key, values.get(key.split('?')[0], value) if key.split('?')[0] in given else value]
              for key, value in command[4]]
    if better != [list(pair) for pair in command[4]]:
        used.add('parameter wins')
    return command[:4] + [better]
