"""Evaluates expressions, reads and shows durations as fail2ban does, which asks Python.

A number comes back as its kind and text; integers that leave what a float holds exactly are marked,
because sekisho goes on with floats where they leave 64 bits, and so is what is no arithmetic of numbers
(docs/COMPAT.md, "an expression of a time or a formula is any Python code").
"""
import ast
import json
import math
import re
import resource
import sys
import warnings

from fail2ban.server.mytime import MyTime

warnings.simplefilter('ignore')
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
EXACT = 1 << 53

# "several numbers of one digit side by side (`1 2 3`) are refused": joins them, too.
MyTime._str2sec_fini = re.compile(r'(\d)\s+(?=\d)()')


class Watched(int):
    """An integer that says when a result of it is too large to be exact as a float."""


def watch(value):
    if isinstance(value, complex):
        seen.append(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) > EXACT:
            seen.append(value)
        return Watched(value)
    return value


def watching(plain):
    return lambda *args: watch(plain(*args))


for name in ('add sub mul floordiv mod pow lshift rshift and or xor neg pos invert abs round trunc floor ceil'
             .split()):
    for variant in ('__%s__', '__r%s__'):
        plain = getattr(int, variant % name, None)
        if plain is not None:
            setattr(Watched, variant % name, watching(plain))


class Watch(ast.NodeTransformer):
    """Watches integers from their begin, and powers for complex numbers, which are not ours."""

    def visit_Constant(self, node):
        return self.watched(node) if type(node.value) is int else node

    def visit_BinOp(self, node):
        self.generic_visit(node)
        return self.watched(node) if isinstance(node.op, ast.Pow) else node

    def watched(self, node):
        return ast.copy_location(ast.Call(ast.Name('watch', ast.Load()), [node], []), node)


ARITHMETIC = (
    ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.IfExp, ast.Name, ast.operator, ast.unaryop, ast.boolop,
    ast.Load, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq, ast.Compare)


def is_arithmetic(node):
    """Whether it is about numbers only, so that sekisho must not refuse it."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, (int, float))
    if isinstance(node, ast.Call):
        return isinstance(node.func, (ast.Name, ast.Attribute)) and not node.keywords and all(
            is_arithmetic(child) for child in node.args)
    if isinstance(node, ast.Attribute):
        return isinstance(node.value, ast.Name)
    return isinstance(node, ARITHMETIC) and all(
        is_arithmetic(child) for child in ast.iter_child_nodes(node))


class Ban:
    pass


def is_foreign(text, names):
    """Whether something on the way to the value is no number of ours: an integer too large to be exact
    as a float, a complex number, anything that is not arithmetic."""
    global seen
    seen = []
    tree = ast.parse(text.strip(), mode='eval')
    if not is_arithmetic(tree):
        return True
    tree = ast.fix_missing_locations(Watch().visit(tree))
    ban = Ban()
    ban.Time, ban.Count = watch(names['ban'].Time), watch(names['ban'].Count)
    watched = dict(names, watch=watch, ban=ban, int=watching(int), round=watching(round), pow=watching(pow))
    try:
        eval(compile(tree, 'text', 'eval'), watched)
    except Exception:
        pass
    return bool(seen)


def value(found):
    if isinstance(found, bool):
        return ['int', int(found)]
    if isinstance(found, int):
        return ['int', found] if abs(found) < 1 << 63 else ['wide', float(found)]
    if isinstance(found, float):
        return ['float', repr(found)]
    return ['error', type(found).__name__]


def evaluate(text, time, count, factor, whole):
    ban = Ban()
    ban.Time, ban.Count = time, count
    names = {'math': math, 'ban': ban, 'banFactor': factor}
    try:
        found = value(eval(text, dict(names)))
    except Exception as error:
        found = ['error', type(error).__name__]
    try:
        foreign = is_foreign(text, names)
    except Exception:
        foreign = False
    return found + [foreign]


def read(text):
    try:
        return value(MyTime.str2seconds(text)) + [False]
    except Exception as error:
        return ['error', type(error).__name__, False]


for line in sys.stdin:
    what, *args = json.loads(line)
    if what == 'evaluate':
        answer = evaluate(*args)
    elif what == 'read':
        answer = read(*args)
    else:
        answer = str(MyTime.seconds2str(args[0]))
    print(json.dumps(answer), flush=True)
