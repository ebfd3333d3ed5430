//! The client's texts, compared with what fail2ban's own client makes of the same answers.

use sekisho::control::{pickle, text};
use sekisho_core::command::Words;
use sekisho_core::value::Value;
use sekisho_oracle::Fail2ban;

use crate::oracle;

/// Commands, and answers (Python expressions) in the shapes a server gives them.
const CASES: &[(&str, &[&str])] = &[
    ("ping", &["'pong'"]),
    ("version", &["'1.1.1'"]),
    ("start j", &["None"]),
    ("stop", &["None"]),
    ("stop j", &["None"]),
    ("stop --all", &["None"]),
    ("add j auto", &["'j'"]),
    ("flushlogs", &["'rolled over'", "'flushed'"]),
    ("echo a b", &["['a', 'b']", "[]", "['é', '1']"]),
    ("banned", &["[{'sshd': []}, {'j1': ['1.2.3.4']}]", "[]"]),
    ("banned 1.2.3.4", &["[['j1'], []]"]),
    ("unban --all", &["0", "3"]),
    ("reload", &["'OK'"]),
    ("server-status", &["'Server ready'"]),
    ("sleep 1", &["None"]),
    (
        "status",
        &[
            "[('Number of jail', 0), ('Jail list', '')]",
            "[('Number of jail', 2), ('Jail list', 'a, b')]",
        ],
    ),
    (
        "status j",
        &[
            "[('Filter', [('Currently failed', 1), ('Total failed', 2), ('File list', ['/a', '/b'])]), ('Actions', [('Currently banned', 1), ('Total banned', 3), ('Banned IP list', ['1.1.1.1', '2.2.2.2'])])]",
            "[('Filter', [('Currently failed', 0), ('Total failed', 0), ('Journal matches', ['_SYSTEMD_UNIT=x + _COMM=y'])]), ('Actions', [('Currently banned', 0), ('Total banned', 0), ('Banned IP list', [])])]",
            "[('Filter', [('File list', [])]), ('Actions', [('Banned IP list', ['1']), ('Banned ASN list', ['1', '2']), ('Banned Country list', []), ('Banned RIR list', ['x'])])]",
            "[('Filter', [('Currently failed', 1)]), ('Actions', [('Currently banned', 1)])]",
        ],
    ),
    (
        "status j short",
        &["[('Filter', [('Currently failed', 1)]), ('Actions', [('Currently banned', 1)])]"],
    ),
    (
        "get loglevel",
        &["'INFO'", "'10'", "20", "7", "5", "18", "25", "30", "40", "50", "13", "1", "100"],
    ),
    ("set loglevel x", &["'HEAVYDEBUG'"]),
    ("get logtarget", &["'/var/log/fail2ban.log'", "'STDOUT'"]),
    ("set syslogsocket auto", &["'auto'"]),
    ("get dbfile", &["None", "'/x'", "':memory:'"]),
    ("get dbpurgeage", &["None", "86400", "2629800.0"]),
    ("get dbmaxmatches", &["None", "10"]),
    ("get thread", &["{'stacksize': 0}"]),
    ("get j logpath", &["[]", "['/a']", "['/a', '/b']"]),
    ("set j addlogpath /a tail", &["['/a', '/b', '/c']"]),
    ("set j dellogpath /a", &["[]"]),
    ("get j logencoding", &["'UTF-8'", "'auto'"]),
    ("get j journalmatch", &["[]", "[['a', 'b'], ['c']]", "[['a']]"]),
    ("set j addjournalmatch x", &["[['a', '+', 'b']]"]),
    ("set j deljournalmatch x", &["[]"]),
    ("get j datepattern", &["None", "(None, 'Default Detectors')", "('%Y', 'Year')"]),
    ("get j ignoreip", &["[]", "['127.0.0.1/8']", "['127.0.0.1/8', '::1']"]),
    ("set j addignoreip 1.2.3.4", &["['1.2.3.4']"]),
    ("get j failregex", &["[]", "['a']", "['a', 'b\\n c']", "['r%d' % i for i in range(12)]"]),
    ("multi-set j addfailregex x", &["['a']"]),
    ("set j delignoreregex 0", &["[]", "['x']"]),
    ("get j prefregex", &["''", "'^x'", "None"]),
    ("get j actions", &["[]", "['a']", "['a', 'b']"]),
    ("get j actionproperties A", &["[]", "['a']"]),
    ("get j actionmethods A", &["[]", "['ban', 'unban']"]),
    ("get j action A actionban", &["'echo \"x\"'", "''"]),
    ("get j banip", &["[]", "['1.2.3.4']", "['1.2.3.4', '::1']"]),
    (
        "get j banip --with-time",
        &["['1.2.3.4 \\t2026-11-23 02:17:00 + 600 = 2026-11-23 02:27:00', 'b']"],
    ),
    ("get j banip ,", &["['1.2.3.4', '::1']"]),
    ("get j banned", &["[]", "['1.2.3.4']"]),
    ("get j banned 1.2.3.4", &["0", "1", "[0, 1]"]),
    ("set j banip 1.2.3.4", &["1"]),
    ("set j unbanip 1.2.3.4", &["0"]),
    ("set j idle on", &["True"]),
    ("get j bantime", &["600", "-1", "5400.5"]),
    ("get j bantime.factor", &["None", "'1'"]),
    ("get j ignorecache", &["['key', 100, 300]"]),
    ("get j maxretry", &["5"]),
    ("set j addaction A", &["'A'"]),
    ("set j delaction A", &["None"]),
    ("foo", &["None", "{'a': {1, }}"]),
];

#[test]
fn texts_are_fail2bans() {
    let Some(fail2ban) = Fail2ban::installed() else { return };
    let script = "
import pickle, sys
from fail2ban.client.beautifier import Beautifier
for line in sys.stdin:
    command, expression = line.rstrip('\\n').split('\\t')
    value = eval(expression)
    data = pickle.dumps(value).hex()
    print(data, repr(str(Beautifier(command.split(' ')).beautify(value))), sep='\\t')
";
    let cases: Vec<(&str, &str)> =
        CASES.iter().flat_map(|(c, values)| values.iter().map(move |v| (*c, *v))).collect();
    let input: Vec<String> = cases.iter().map(|(c, v)| format!("{c}\t{v}")).collect();
    let output = oracle::python(&fail2ban, script, &input.join("\n"));
    assert_eq!(output.lines().count(), cases.len());
    for (line, (command, expression)) in output.lines().zip(cases) {
        let (data, expected) = line.split_once('\t').unwrap();
        let value = pickle::decode(&crate::pickle::unhex(data)).unwrap();
        let words: Vec<Value> = command.split(' ').map(Value::str).collect();
        let ours = Value::Str(text::reply(&words, &value, true)).repr();
        assert_eq!(ours, expected, "{command} -> {expression}");
    }
}

#[test]
fn pretty_printing_is_pythons() {
    let Some(fail2ban) = Fail2ban::installed() else { return };
    let script = "
import pickle, pprint, random
random.seed(7)
def text(n):
    return ''.join(random.choice(['abc', ' ', '  ', '\\n', 'x' * 40, \"'\", '\\\\', 'é']) for _ in range(n))
values = [['a', 'b'], text(300), ['x' * 2000], ['a b'] * 300, 'x' * 1500, text(20)]
for _ in range(100):
    values.append(['multi-set', 'j', 'addfailregex', [text(random.randrange(80)) for _ in range(random.randrange(1, 20))]])
    values.append(['set', 'j', 'action', 'a', 'actionban', text(random.randrange(150))])
for value in values:
    print(pickle.dumps(value).hex(), repr(pprint.pformat(value, width=1000, indent=2)), sep='\\t')
";
    let output = oracle::python(&fail2ban, script, "");
    assert!(output.lines().count() > 200);
    for line in output.lines() {
        let (data, expected) = line.split_once('\t').unwrap();
        let value = pickle::decode(&crate::pickle::unhex(data)).unwrap();
        // A command is always a list.
        let Value::List(words) = value else { continue };
        let ours = sekisho_config::dump::pretty(&[Words { words, origin: None }]);
        assert_eq!(Value::str(ours.trim_end_matches('\n')).repr(), expected);
    }
}
