"""Dates lines with the installed fail2ban, for the differential test beside this file.

Reads one job per line on standard input, writes one answer per line:

    D <pattern>\t<logtimezone>   start a new detector (empty pattern: the built-in templates)
    N <seconds>                  set the present
    L <line>                     date a line: start, end (bytes), template, time
    O                            the names of all templates in their present order, with hits
"""
import sys

sys.path.insert(0, "/usr/lib/python3/dist-packages")
try:
    from fail2ban.server import strptime
except ImportError:
    print("missing")
    sys.exit(0)

# The century of %ExY depends on the year in which the module is loaded; the test is made for 2026.
strptime.timeRE["ExY"] = r"(?P<Y>20[012]\d)"

from fail2ban.server import datedetector
from fail2ban.server.mytime import MyTime

# Newer versions accept more forms of this one.
COMPACT = r"%ExY%Exm%Exd(?:-|T|  ?)%ExH:?%ExM:?%ExS(?:[.,]%f)?(?:\s*%z)?"
defaults = datedetector.DateDetectorCache.DEFAULT_TEMPLATES
for i, text in enumerate(defaults):
    if text.startswith("%ExY%Exm%Exd"):
        defaults[i] = COMPACT


class Clock:
    now = 0.0

    def time(self):
        return self.now


clock = Clock()
datedetector.time = clock


def new_detector(job):
    pattern, zone = job.split("\t")
    detector = datedetector.DateDetector()
    detector.default_tz = zone or None
    for line in filter(bool, pattern.split("\\n")):
        detector.appendTemplate(line)
    if not detector.templates:
        detector.addDefaultTemplate()
    for slot in detector.templates:
        # Compiled at the first line otherwise; a pattern that fails then is ours to refuse or mend.
        slot.template._compileRegex()
        slot.template.hits = 0
    return detector


def date(detector, line):
    found = detector.matchTime(line)
    match, template = found
    if not match:
        return "none"
    start, end = match.span(1)
    text = line[start:end]
    head = "%d\t%d\t%s" % (len(line[:start].encode()), len(line[:end].encode()), template.name)
    if not text:
        return head + "\tempty"
    try:
        time = detector.getTime(text, found)
    except Exception as error:
        return head + "\terror " + type(error).__name__
    return head + "\t" + ("none" if time is None else "%.3f" % time[0])


def main():
    detector = None
    out = []
    for job in sys.stdin.buffer.read().decode().split("\n"):
        kind, job = job[:1], job[2:]
        if kind == "D":
            try:
                detector = new_detector(job)
                out.append("ok")
            except Exception as error:
                detector = None
                out.append("error %s" % error)
        elif kind == "N":
            clock.now = float(job)
            MyTime.setTime(clock.now)
        elif detector is None and kind:
            out.append("no detector")
        elif kind == "L":
            try:
                out.append(date(detector, job))
            except Exception as error:
                out.append("error %s %s" % (type(error).__name__, error))
        elif kind == "O":
            out.append("\t".join("%s %d" % (t.name, t.hits) for t in detector.templates))
    sys.stdout.buffer.write("\n".join(out).encode())


main()
