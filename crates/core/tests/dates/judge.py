"""Dates lines with one fail2ban: one JSON value per line, both ways.

A question is a session of one date detector: the zone of the machine, the pattern, the zone of the
log, and steps of a present time and a line. The answer says for every line where the date is (in
bytes), which template found it and the time, and in the end the order of the templates with their
hits; or why the pattern is refused.
"""
import datetime
import json
import logging
import math
import os
import sys
import time

from fail2ban.server import strptime

# The century of %ExY depends on the year in which the module is loaded; the test is made for 2026.
strptime.timeRE["ExY"] = r"(?P<Y>20[012]\d)"

from fail2ban.server import datedetector
from fail2ban.server.mytime import MyTime

# Since 1.1.1 more forms of this one are accepted: docs/COMPAT.md, "1.0.2 against 1.1".
COMPACT = r"%ExY%Exm%Exd(?:-|T|  ?)%ExH:?%ExM:?%ExS(?:[.,]%f)?(?:\s*%z)?"
defaults = datedetector.DateDetectorCache.DEFAULT_TEMPLATES
for i, text in enumerate(defaults):
    if text.startswith("%ExY%Exm%Exd"):
        defaults[i] = COMPACT


# Templates of a detector weigh more where the default ones share them: they are never forgotten here,
# as in a server that has fewer than a thousand patterns.
datedetector.DD_patternCache.setOptions(maxCount=10**9, maxTime=10**9)

# A pattern that does not compile is answered, not told.
logging.disable()


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def time(self):
        return self.now


class FirstOfTwo:
    """The module `time`, but of an hour that comes twice or not at all it takes the first reading.

    The C library takes either, depending on what it was asked before.
    """

    def __getattr__(self, name):
        return getattr(time, name)

    def mktime(self, parts):
        given = time.mktime(parts)
        civil = datetime.datetime(*parts[:6])
        try:
            first, second = civil.timestamp(), civil.replace(fold=1).timestamp()
        except (OverflowError, ValueError):  # next to the last day that datetime knows
            return given
        return first if first != second and given in (first, second) else given


clock = Clock()
datedetector.time = clock
strptime.time = FirstOfTwo()


def new_detector(pattern, zone):
    detector = datedetector.DateDetector()
    detector.default_tz = zone or None
    for line in filter(bool, pattern.split("\n")):
        detector.appendTemplate(line)
    if not detector.templates:
        detector.addDefaultTemplate()
    for slot in detector.templates:
        # Compiled at the first line otherwise; a pattern that fails then is ours to refuse or mend.
        slot.template._compileRegex()
        slot.template.hits = 0
    return detector


def name_of(template):
    # Which of the two names these have depends on the order of a set.
    return template.name.replace("Ex%k", "%Exk").replace("Ex%l", "%Exl")


def date(detector, line):
    found = detector.matchTime(line)
    match, template = found
    if not match:
        return None
    start, end = match.span(1)
    text = line[start:end]
    head = [len(line[:start].encode()), len(line[:end].encode()), name_of(template)]
    if not text:
        return head + ["empty"]
    try:
        time = detector.getTime(text, found)
    except Exception as error:
        return head + [type(error).__name__]
    return head + [None if time is None else math.floor(time[0] * 1000 + 0.5)]


def session(asked):
    if os.environ.get("TZ") != asked["zone"]:
        os.environ["TZ"] = asked["zone"]
        time.tzset()
    try:
        detector = new_detector(asked["pattern"], asked["log_zone"])
    except Exception as error:
        return {"refused": str(error)}
    dates = []
    for now, line in asked["steps"]:
        clock.now = now
        MyTime.setTime(now)
        dates.append(date(detector, line))
    return {"dates": dates, "order": [[name_of(t), t.hits] for t in detector.templates]}


for line in sys.stdin:
    print(json.dumps(session(json.loads(line))), flush=True)
