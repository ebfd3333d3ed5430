"""Answers what single parts of fail2ban's configuration dialect make of a text.

Reads one JSON value per line, [PART, TEXT, …], and answers with what it is, or {"error": CLASS,
"text": MESSAGE}.
"""
import io
import json
import resource
import shlex
import sys

from fail2ban.client.configparserinc import SafeConfigParserWithIncludes
from fail2ban.helpers import _as_bool, extractOptions, splitWithOptions, splitwords
from fail2ban.server.mytime import MyTime


# A time like 9**9**9 must not take the machine along.
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))


def parser(text):
    # As a file is read: line ends of all kinds become line feeds.
    config = SafeConfigParserWithIncludes()
    config.read_file(io.TextIOWrapper(io.BytesIO(text.encode("utf-8", "surrogatepass")), "utf-8"))
    return config


def ini(text):
    config = parser(text)
    sections = [[name, list(options.items())] for name, options in config._sections.items()]
    return [list(config._defaults.items()), sections]


def interpolated(text, section, option, variables):
    return parser(text).get(section, option, vars=variables)


parts = {
    "ini": ini,
    "interpolated": interpolated,
    "split": lambda text: [part.strip() for part in splitWithOptions(text) if part.strip()],
    "definition": lambda text: [extractOptions(text)[0], list(extractOptions(text)[1].items())],
    "words": splitwords,
    "shell words": shlex.split,
    "number": int,
    "flag": _as_bool,
    "seconds": MyTime.str2seconds,
}

for line in sys.stdin:
    part, *arguments = json.loads(line)
    try:
        answer = parts[part](*arguments)
        if part == "seconds" and not isinstance(answer, (int, float)):
            raise ValueError("no number")
        answer = json.dumps(answer)
    except RecursionError:
        answer = json.dumps({"error": "RecursionError", "text": ""})
    except Exception as e:
        answer = json.dumps({"error": type(e).__name__, "text": str(e)})
    sys.stdout.write(answer + "\n")
    sys.stdout.flush()
