"""Filters of one fail2ban, line by line, as its own tests of sample logs run them.

Reads a JSON value per line: folder, name and options of a filter, and lines, each with whether it
comes from the journal. Answers what every line led to: the failregex, the id, the time, the groups,
the lines that belong to the failure. The clock stands still, host names stay as they are, and all
patterns are tried on every line.
"""
import json
import logging
import os
import sys
import time

from fail2ban.client.filterreader import FilterReader
from fail2ban.server.filter import Filter
from fail2ban.server.mytime import MyTime

NOW = int(sys.argv[1])


def make(base, name, options):
    """The filter that a jail would have."""
    made = Filter(None)
    made.returnRawHost = True
    made.checkAllRegex = True
    made.checkFindTime = False
    made.active = True
    reader = FilterReader(name, "jail", options, basedir=base)
    reader.read()
    reader.getOptions({})
    setters = {
        "addfailregex": made.addFailRegex,
        "addignoreregex": made.addIgnoreRegex,
        "maxlines": made.setMaxLines,
        "datepattern": made.setDatePattern,
    }
    for words in reader.convert():
        values = words[3] if words[0] == "multi-set" else words[3:4]
        for value in values:
            if words[2] == "prefregex":
                made.prefRegex = value
            elif words[2] in setters:
                setters[words[2]](value)
    return made


def plain(value):
    if isinstance(value, set):
        return sorted(plain(item) for item in value)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)


def judge(made, line, journal):
    if journal:
        found = made.processLine(("", "", line), float(NOW))
    else:
        found = made.processLine(line)
    return [
        {
            "regex": regex,
            "id": plain(who),
            "time": when,
            "groups": {k: plain(v) for k, v in groups.items()
                       if k not in ("matches", "nofail-matches", "mlfpending")},
            "matches": plain(groups.get("matches") or []),
        }
        for regex, who, when, groups in found
    ]


logging.getLogger("fail2ban").setLevel(logging.CRITICAL)
os.environ["TZ"] = sys.argv[2]
time.tzset()
MyTime.setTime(NOW)
for line in sys.stdin:
    asked = json.loads(line)
    try:
        made = make(asked["base"], asked["name"], asked["options"])
        answer = [judge(made, text, journal) for text, journal in asked["lines"]]
    except Exception as e:
        answer = "%s: %s" % (type(e).__name__, e)
    print(json.dumps(answer), flush=True)
