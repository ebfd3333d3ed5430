//! The engine through its one entrance: commands, counting, enforcement, reload.
//!
//! The lab answers what a test does not care about: jobs succeed, nothing is known to DNS, the
//! database is empty. Tests that do care take jobs and questions into their own hands.

// A test may stop at anything unexpected.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod engine {
    pub mod lab;
}

use engine::lab::{Lab, ip, words};
use sekisho_core::effect::*;
use sekisho_core::failure::{Failure, Fields, MatchedLine};
use sekisho_core::id::Id;
use sekisho_core::ticket::{BanTime, Ticket};
use sekisho_core::time::{Span, Timestamp};
use sekisho_core::value::Value;

fn firewall(extra: &[(&str, &str)]) -> Vec<(String, String)> {
    let base = [("actionstart", "s"), ("actionstop", "e"), ("actionban", "b")];
    let all = base.iter().chain(&[("actionunban", "u"), ("actname", "fw")]).chain(extra);
    all.map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// A jail `j` with one enforcing action `fw` and one notification `mail`, as a stream.
fn stream(options: &[(&str, &str)], actions: &[(&str, Vec<(String, String)>)]) -> Value {
    let s = |t: &str| Value::str(t);
    let mut list = vec![Value::List(vec![s("add"), s("j"), s("polling")])];
    for (key, value) in options {
        list.push(Value::List(vec![s("set"), s("j"), s(key), s(value)]));
    }
    for (name, properties) in actions {
        list.push(Value::List(vec![s("set"), s("j"), s("addaction"), s(name)]));
        let pairs = properties.iter().map(|(k, v)| Value::List(vec![s(k), s(v)])).collect();
        let pairs = Value::List(pairs);
        list.push(Value::List(vec![s("multi-set"), s("j"), s("action"), s(name), pairs]));
    }
    list.push(Value::List(vec![s("start"), s("j")]));
    Value::List(list)
}

fn mail() -> Vec<(String, String)> {
    vec![("actionban".into(), "m".into()), ("actname".into(), "mail".into())]
}

fn started(options: &[(&str, &str)]) -> Lab {
    let mut lab = Lab::new();
    let actions = [("fw", firewall(&[])), ("mail", mail())];
    lab.send(vec![Value::str("server-stream"), stream(options, &actions)]);
    lab.work();
    lab.forget();
    lab
}

fn reload(lab: &mut Lab, stream: Value) -> Result<Value, String> {
    let words = vec![Value::str("reload"), Value::str("--all"), Value::List(vec![]), stream];
    lab.send(words);
    lab.work();
    lab.last_reply()
}

#[test]
fn a_sleeping_client_delays_nobody() {
    let mut lab = Lab::new();
    lab.send(words("sleep 1.5"));
    assert!(lab.open_reply());
    lab.pass(Span::from_secs(1));
    assert!(lab.open_reply());
    lab.pass(Span::from_secs(1));
    assert_eq!(lab.last_reply(), Ok(Value::None));
    lab.send(words("sleep 9"));
    assert_eq!(lab.ask("ping"), "'pong'");
}

#[test]
fn actions_are_called_by_hand() {
    let mut lab = Lab::new();
    for line in ["add j polling", "set j addaction A", "set j action A actionunban x"] {
        lab.ask(line);
    }
    let start = "set j action A start";
    lab.send(words(start));
    assert!(lab.last_reply().unwrap_err().contains("is not started"));
    lab.ask("start j");
    lab.work();
    lab.forget();
    // The answer comes with the outcome.
    lab.send(words(start));
    assert!(lab.open_reply());
    lab.finish(Ok(()));
    assert_eq!(lab.last_reply(), Ok(Value::Bool(true)));
    lab.send(words("set j action A ban {\"aInfo\":{\"ip\":\"192.0.2.1\"}}"));
    lab.finish(Err("Error banning 192.0.2.1"));
    assert_eq!(lab.last_reply(), Err("Error banning 192.0.2.1".into()));
    assert_eq!(lab.ran(), ["A Start ", "A Ban 192.0.2.1"]);
    // Nobody is banned by that, and nothing is tried again.
    assert_eq!(lab.ask("get j banip"), "[]");
    assert_eq!(lab.jobs_text(), [""; 0]);
    assert_eq!(lab.stored(), [""; 0]);
}

#[test]
fn commands_answer_in_fail2bans_shapes() {
    let mut lab = Lab::new();
    for (line, expected) in [
        ("ping", "'pong'"),
        ("echo a b", "['a', 'b']"),
        ("version", "'1.1.1'"),
        ("server-status", "'Server ready'"),
        ("status", "[('Number of jail', 0), ('Jail list', '')]"),
        ("add j polling", "'j'"),
        ("add j polling", "!j"),
        ("set zz maxretry 5", "!'zz'"),
        ("set j maxretry 5", "5"),
        ("set j findtime 10m", "600"),
        ("set j findtime 1.5h", "5400.0"),
        ("set j bantime 1.5h", "5400"),
        ("set j bantime 1mo", "2629800"),
        ("set j bantime -1", "-1"),
        ("set j bantime 600", "600"),
        ("set j bantime.increment true", "True"),
        ("get j bantime.increment", "True"),
        ("set j bantime.maxtime 1w", "604800"),
        ("set j bantime.multipliers a", "!invalid literal for int() with base 10: 'a'"),
        ("get j bantime.zzz", "None"),
        ("set j bantime.increment false", "False"),
        ("set j ignoreself false", "False"),
        ("set j addignoreip 1.2.3.4 10.0.0.0/8 ::1", "['10.0.0.0/8', '1.2.3.4', '::1']"),
        ("set j delignoreip 1.2.3.4", "['10.0.0.0/8', '::1']"),
        ("set j delignoreip 9.9.9.9", "!list.remove(x): x not in list"),
        ("set j ignorecommand /bin/x", "'/bin/x'"),
        ("set j ignorecommand ", "!list index out of range"),
        ("get j ignorecache", "None"),
        ("set j ignorecache key=\"<ip>\",max-count=10,max-time=5m", "['<ip>', 10, 300]"),
        ("set j addlogpath /var/log/a Tail", "['/var/log/a']"),
        ("set j dellogpath /zz", "['/var/log/a']"),
        ("set j dellogpath /var/log/a", "[]"),
        ("get j logencoding", "'UTF-8'"),
        ("set j logencoding latin1", "'latin1'"),
        ("set j usedns foo", "'no'"),
        ("set j maxlines 3", "3"),
        ("set j maxmatches 3", "3"),
        ("get j datepattern", "(None, 'Default Detectors')"),
        ("set j datepattern %Y-%m-%d", "('%Y-%m-%d', 'Year-Month-Day')"),
        ("set j datepattern Epoch", "(None, 'Epoch')"),
        ("get j logtimezone", "None"),
        ("set j logtimezone UTC+0200", "'UTC+0200'"),
        ("set j logtimezone foo", "!Unknown or unsupported time zone: 'foo'"),
        ("get j logtimezone", "'UTC+0200'"),
        ("get j prefregex", "''"),
        ("set j addfailregex x", "!No failure-id group in 'x'"),
        ("set j addfailregex ^<F-ID>x</F-ID>", "['^(?P<fid>x)']"),
        ("set j delfailregex 7", "['^(?P<fid>x)']"),
        ("set j delfailregex 0", "[]"),
        ("set j addignoreregex x", "['x']"),
        ("set j addjournalmatch A=b", "[]"),
        ("set j idle on", "True"),
        ("set j idle off", "False"),
        ("set j addaction a", "'a'"),
        ("set j addaction a", "!Action a already exists"),
        ("set j action a actionban x", "'x'"),
        ("get j action a actionban", "'x'"),
        ("get j action a actionstart", "''"),
        ("get j action a zz", "!'CommandAction' object has no attribute 'zz'"),
        ("get j action a timeout", "60"),
        ("set j action a timeout 10", "10"),
        ("set j action b x y", "!'Invalid Action name: b'"),
        ("get j actions", "['a']"),
        ("set j delaction zz", "!'Invalid Action name: zz'"),
        ("set j delaction a", "None"),
        ("start zz", "!'zz'"),
        ("get j banned", "[]"),
        ("get j banned 1.2.3.4", "0"),
        ("get j banned 1.2.3.4 5.6.7.8", "[0, 0]"),
        ("banned", "[{'j': []}]"),
        ("banned 1.2.3.4 6.6.6.6", "[[], []]"),
        ("get j banip", "[]"),
        ("status", "[('Number of jail', 1), ('Jail list', 'j')]"),
        (
            "status j",
            "[('Filter', [('Currently failed', 0), ('Total failed', 0), ('File list', [])]), \
             ('Actions', [('Currently banned', 0), ('Total banned', 0), ('Banned IP list', [])])]",
        ),
        (
            "status j short",
            "[('Filter', [('Currently failed', 0), ('Total failed', 0), ('File list', [])]), \
             ('Actions', [('Currently banned', 0), ('Total banned', 0)])]",
        ),
        ("status j stats", "['polling', (0, 0), (0, 0)]"),
        ("status --all stats", "{'j': ['polling', (0, 0), (0, 0)]}"),
        ("stats", "{'j': ['polling', (0, 0), (0, 0)]}"),
        ("set allowipv6 no", "'no'"),
        ("config-error x", "None"),
        ("unban 1.2.3.4", "0"),
        ("unban --all", "0"),
        ("set j unbanip --report-absent 1.2.3.4", "!not banned: ['1.2.3.4']"),
        ("set j attempt 1.2.3.4 m1 m2", "1"),
        ("stop j", "None"),
        ("status", "[('Number of jail', 0), ('Jail list', '')]"),
    ] {
        lab.send(words(line.trim_end()));
        lab.work();
        if line.contains("addlogpath") {
            lab.end_is_at(&Position::default());
        }
        let shown = match lab.last_reply() {
            Ok(value) => value.repr(),
            Err(text) => format!("!{text}"),
        };
        assert_eq!(shown, expected, "{line}");
    }
}

fn failure(lab: &Lab, id: &str) -> Failure {
    Failure {
        id: Id::parse(id),
        address: None,
        time: lab.now.wall,
        whole: false,
        attempts: 1,
        matches: vec![MatchedLine::Whole("a line".into())],
        fields: Fields::default(),
    }
}

#[test]
fn enforcement_comes_first_and_only_what_is_enforced_is_called_banned() {
    let mut lab = started(&[("maxretry", "2"), ("ignoreself", "no")]);
    lab.fail(failure(&lab, "192.0.2.1"));
    lab.fail(failure(&lab, "192.0.2.1"));
    assert_eq!(lab.jobs_text(), ["fw Ban 192.0.2.1"]);
    assert!(lab.log_has("INFO [j] Found 192.0.2.1 - 2023-11-14 22:13:20"));
    assert!(!lab.log_has("NOTICE [j] Ban 192.0.2.1"));
    // On its way it is shown at once (scripts look right after `banip`), failed it is not.
    assert_eq!(lab.ask("get j banned"), "['192.0.2.1']");
    lab.finish(Err("no such chain"));
    assert_eq!(lab.ask("get j banned"), "[]");
    assert_eq!(lab.ask("banned 192.0.2.1"), "[[]]");
    let status = lab.ask("status j");
    assert!(status.contains("('Currently banned', 0), ('Total banned', 1)"), "{status}");
    assert!(status.contains("('Banned IP list', []), ('Not enforced', ['192.0.2.1'])"), "{status}");
    assert!(status.contains("('Failing actions', ['fw'])"), "{status}");
    assert!(lab.log_has(
        "ERROR Failed to execute ban jail 'j' action 'fw' info 'ActionInfo({'ip': '192.0.2.1', \
         'family': 'inet4'})': no such chain"
    ));
    // It is tried again, at a rate that falls.
    for wait in [1, 2, 4] {
        lab.pass(Span::from_millis(wait * 1000 - 1));
        assert_eq!(lab.jobs_text(), [""; 0]);
        lab.pass(Span::from_millis(1));
        assert_eq!(lab.jobs_text(), ["fw Ban 192.0.2.1"]);
        lab.finish(Err("no such chain"));
    }
    lab.pass(Span::from_secs(8));
    lab.finish(Ok(()));
    assert!(lab.log_has("NOTICE [j] Ban 192.0.2.1"));
    assert_eq!(lab.jobs_text(), ["mail Ban 192.0.2.1"]);
    lab.work();
    assert!(!lab.ask("status j").contains("Failing actions"));
    assert_eq!(lab.ask("get j banned"), "['192.0.2.1']");
    // Its end counts from the last failure.
    lab.pass(Span::from_secs(600 - 15));
    assert_eq!(lab.jobs_text(), [""; 0]);
    lab.pass(Span::from_millis(1));
    assert_eq!(lab.jobs_text(), ["fw Unban 192.0.2.1"]);
    assert!(lab.log_has("NOTICE [j] Unban 192.0.2.1"));
}

#[test]
fn followers_are_told_what_happens() {
    let mut lab = started(&[("maxretry", "2"), ("ignoreself", "no"), ("addignoreip", "192.0.2.9")]);
    assert_eq!(lab.told(), ["j started"]);
    lab.fail(failure(&lab, "192.0.2.9"));
    lab.fail(failure(&lab, "192.0.2.1"));
    lab.fail(failure(&lab, "192.0.2.1"));
    let found = ["j ignored 192.0.2.9 by ip", "j found 192.0.2.1", "j found 192.0.2.1"];
    assert_eq!(lab.told(), found);
    lab.finish(Err("no such chain"));
    assert_eq!(lab.told(), ["j not enforced 192.0.2.1: no such chain"]);
    lab.pass(Span::from_secs(1));
    lab.finish(Ok(()));
    lab.work();
    assert_eq!(lab.told(), ["j banned 192.0.2.1"]);
    lab.pass(Span::from_secs(600));
    lab.work();
    assert_eq!(lab.told(), ["j unbanned 192.0.2.1"]);
    lab.send(words("set j banip 192.0.2.2"));
    lab.work();
    lab.send(words("stop j"));
    lab.work();
    assert_eq!(lab.told(), ["j banned 192.0.2.2", "j repealed 192.0.2.2", "j stopped"]);
}

#[test]
fn unban_answers_when_it_is_done() {
    let mut lab = started(&[]);
    lab.send(words("set j banip 192.0.2.1 192.0.2.2 203.0.113.0/24"));
    assert_eq!(lab.last_reply(), Ok(Value::Int(3)));
    lab.work();
    lab.send(words("set j unbanip 192.0.2.1"));
    assert!(lab.open_reply());
    lab.work();
    assert_eq!(lab.last_reply(), Ok(Value::Int(1)));
    assert!(lab.stored().contains(&"DeleteBan 192.0.2.1".to_owned()));
    // A network takes its members with it.
    lab.send(words("unban 192.0.2.0/24"));
    lab.work();
    assert_eq!(lab.last_reply(), Ok(Value::Int(1)));
    // Neither is there any more, and a time limit answers for an action that hangs.
    lab.send(words("set j unbanip 203.0.113.0/24"));
    lab.pass(Span::from_secs(59));
    assert!(lab.open_reply());
    lab.pass(Span::from_secs(1));
    assert_eq!(lab.last_reply(), Ok(Value::Int(1)));
}

#[test]
fn stop_takes_back_what_it_banned_and_keeps_the_rows() {
    let mut lab = Lab::new();
    let actions = [("fw", firewall(&[("actionflush", "f")])), ("one", firewall(&[]))];
    lab.send(vec![Value::str("server-stream"), stream(&[], &actions)]);
    lab.work();
    lab.send(words("set j banip 192.0.2.1"));
    lab.work();
    lab.forget();
    lab.send(words("stop"));
    assert_eq!(lab.jobs_text(), ["fw LastFlush ", "one Unban 192.0.2.1"]);
    assert!(lab.log_has("NOTICE [j] Flush ticket(s) with fw"));
    assert!(lab.log_has("NOTICE [j] Repeal Ban 192.0.2.1"));
    assert!(lab.open_reply() && !lab.exited);
    lab.finish(Ok(()));
    lab.finish(Ok(()));
    assert_eq!(lab.jobs_text(), ["fw Stop ", "one Stop "]);
    lab.work();
    assert_eq!(lab.last_reply(), Ok(Value::None));
    // The jail is off until the next start, as fail2ban leaves it; its bans stay.
    assert_eq!(lab.stored(), ["DisableJail"]);
    assert!(lab.exited);
}

#[test]
fn a_stop_does_not_wait_for_mail_for_ever() {
    let mut lab = started(&[]);
    lab.send(words("set j banip 192.0.2.1"));
    lab.finish(Ok(()));
    assert_eq!(lab.jobs_text(), ["mail Ban 192.0.2.1"]);
    lab.send(words("stop"));
    // The mail hangs; what enforces is taken back meanwhile.
    while let Some(at) = lab.jobs_text().iter().position(|job| job.starts_with("fw")) {
        lab.jobs.rotate_left(at);
        lab.finish(Ok(()));
    }
    assert_eq!(lab.ran()[1..], ["fw Unban 192.0.2.1", "fw Stop "]);
    lab.pass(Span::from_millis(4_999));
    assert!(lab.open_reply() && !lab.exited);
    lab.pass(Span::from_millis(1));
    assert_eq!(lab.last_reply(), Ok(Value::None));
    assert!(lab.exited);
}

#[test]
fn reload_acts_on_differences_only() {
    let mut lab = started(&[("bantime", "1h"), ("maxlines", "5"), ("ignoreself", "no")]);
    lab.send(words("set j banip 192.0.2.1"));
    lab.work();
    lab.fail(failure(&lab, "192.0.2.9"));
    lab.forget();
    // The same again: nothing is run.
    let actions = [("fw", firewall(&[])), ("mail", mail())];
    let same = stream(&[("bantime", "1h"), ("maxlines", "5"), ("ignoreself", "no")], &actions);
    assert_eq!(reload(&mut lab, same), Ok(Value::str("OK")));
    assert_eq!(lab.ran(), [""; 0]);
    assert!(lab.log_has("INFO Jail 'j' reloaded") && lab.log_has("INFO Reload finished."));
    // Options that are gone fall back, a new action starts and enforces what is banned.
    let actions = [("fw", firewall(&[])), ("two", firewall(&[("actname", "fw2")]))];
    assert_eq!(reload(&mut lab, stream(&[], &actions)), Ok(Value::str("OK")));
    assert_eq!(lab.ran(), ["two Start ", "two Ban 192.0.2.1", "mail Stop "]);
    assert_eq!(lab.ask("get j bantime"), "600");
    assert_eq!(lab.ask("get j maxlines"), "1");
    // Bans, counts and totals are what they were.
    assert_eq!(lab.ask("get j banned"), "['192.0.2.1']");
    assert_eq!(lab.ask("status j stats"), "['polling', (1, 1), (1, 1)]");
    // An action that is gone takes its bans back and stops; a changed one is exchanged.
    lab.forget();
    let actions = [("fw", firewall(&[("port", "2222")]))];
    assert_eq!(reload(&mut lab, stream(&[], &actions)), Ok(Value::str("OK")));
    let mut ran = lab.ran();
    ran.sort();
    let mut expected = [
        "two Unban 192.0.2.1",
        "two Stop ",
        "fw Unban 192.0.2.1",
        "fw Stop ",
        "fw Start ",
        "fw Ban 192.0.2.1",
    ];
    expected.sort_unstable();
    assert_eq!(ran, expected);
    // A jail that is gone stops, and is disabled in the database.
    lab.forget();
    assert_eq!(reload(&mut lab, Value::List(vec![])), Ok(Value::str("OK")));
    assert_eq!(lab.ran(), ["fw Unban 192.0.2.1", "fw Stop "]);
    assert!(lab.stored().contains(&"DisableJail".to_owned()));
    assert!(lab.log_has("INFO Jail 'j' stopped"));
}

#[test]
fn a_broken_jail_goes_on_guarding_and_says_why() {
    let mut lab = started(&[("maxretry", "7")]);
    let broken = stream(&[("maxretry", "2"), ("addfailregex", "(")], &[]);
    assert_eq!(reload(&mut lab, broken), Ok(Value::str("OK")));
    assert_eq!(lab.ask("get j maxretry"), "7");
    assert_eq!(lab.ask("get j actions"), "['fw', 'mail']");
    let status = lab.ask("status");
    let (guarding, broken) = (
        "('Jail list', 'j')",
        "('Broken jails', [\"j (guards as before: Unable to compile regular expression",
    );
    assert!(status.contains(guarding) && status.contains(broken), "{status}");
    let status = lab.ask("status j");
    assert!(status.contains("('Broken', [('Reason', "), "{status}");
    assert!(status.contains("Unable to compile regular expression"), "{status}");
    // Mended, it is as configured.
    let good = stream(&[("maxretry", "2")], &[]);
    assert_eq!(reload(&mut lab, good), Ok(Value::str("OK")));
    assert_eq!(lab.ask("get j maxretry"), "2");
    assert_eq!(lab.ask("status"), "[('Number of jail', 1), ('Jail list', 'j')]");
    // One that never ran is listed, too; if none is left, the stream is refused.
    let mut lab = Lab::new();
    let broken = stream(&[("addaction", "a"), ("addaction", "a")], &[]);
    lab.send(vec![Value::str("server-stream"), broken]);
    let error = lab.last_reply().unwrap_err();
    assert!(error.contains("Action a already exists"), "{error}");
    assert_eq!(
        lab.ask("status"),
        "[('Number of jail', 0), ('Jail list', ''), ('Broken jails', ['j (Action a already exists)'])]"
    );
    assert!(lab.ask("status j").contains("Action a already exists"));
    lab.send(words("config-error"));
    lab.send(vec![
        Value::str("config-error"),
        Value::str("Jail 'web' skipped, because of missing log files."),
    ]);
    let status = lab.ask("status");
    assert!(status.contains("'j (Action a already exists)', \"web ("), "{status}");
}

#[test]
fn ignore_rules_ask_the_world_once() {
    let mut lab = started(&[("maxretry", "1"), ("addignoreip", "good.example")]);
    lab.own_work = true;
    lab.fail(failure(&lab, "192.0.2.1"));
    lab.fail(failure(&lab, "192.0.2.7"));
    assert_eq!(lab.asks_text(), ["OwnAddresses"]);
    lab.answer(Answer::Addresses(Ok(vec![ip("192.0.2.7")])));
    assert!(lab.log_has("INFO [j] Ignore 192.0.2.7 by ignoreself rule"));
    assert_eq!(lab.asks_text(), ["Resolve(\"good.example\")"]);
    lab.answer(Answer::Addresses(Ok(vec![ip("192.0.2.1")])));
    assert!(lab.log_has("INFO [j] Ignore 192.0.2.1 by dns"));
    assert_eq!(lab.jobs_text(), [""; 0]);
    // Known now, and for five minutes.
    lab.fail(failure(&lab, "192.0.2.1"));
    assert_eq!(lab.asks_text(), [""; 0]);
    lab.pass(Span::from_secs(301));
    lab.fail(failure(&lab, "192.0.2.1"));
    assert_eq!(lab.asks_text(), ["OwnAddresses"]);
    lab.answer(Answer::Addresses(Err("no network".into())));
    lab.answer(Answer::Addresses(Err("no network".into())));
    assert_eq!(lab.jobs_text(), ["fw Ban 192.0.2.1"]);
}

#[test]
fn an_ignore_command_decides_and_is_remembered() {
    let mut lab = started(&[
        ("ignoreself", "no"),
        ("maxretry", "2"),
        ("ignorecommand", "check <ip>"),
        ("ignorecache", "key=\"<ip>\", max-count=10, max-time=5m"),
    ]);
    lab.own_work = true;
    lab.fail(failure(&lab, "192.0.2.1"));
    assert_eq!(lab.asks_text(), ["IgnoreCommand check <ip> (600 s, 0 failures)"]);
    lab.answer(Answer::Exit(Ok(0)));
    assert!(lab.log_has("INFO [j] Ignore 192.0.2.1 by command"));
    lab.fail(failure(&lab, "192.0.2.1"));
    assert_eq!(lab.asks_text(), [""; 0]);
    lab.fail(failure(&lab, "192.0.2.2"));
    lab.answer(Answer::Exit(Ok(1)));
    lab.fail(failure(&lab, "192.0.2.2"));
    assert_eq!(lab.jobs_text(), ["fw Ban 192.0.2.2"]);
}

#[test]
fn known_attackers_are_banned_longer() {
    let mut lab = started(
        &[("ignoreself", "no"), ("maxretry", "3"), ("bantime.increment", "true"), ("action", "")]
            [..3],
    );
    lab.own_work = true;
    lab.fail(failure(&lab, "192.0.2.1"));
    let last = lab.now.wall.minus(Span::from_secs(5000));
    let history = History { count: 2, last, ban_time: 600 };
    lab.answer(Answer::History(Some(history)));
    assert!(lab.log_has("INFO [j] Found 192.0.2.1, bad - 2023-11-14 22:13:20, 2 # -> 3.0, Ban"));
    // The ban does not wait for its history; the row does.
    assert_eq!(lab.jobs_text(), ["fw Ban 192.0.2.1"]);
    assert_eq!(lab.stored(), [""; 0]);
    lab.answer(Answer::History(Some(history)));
    assert!(
        lab.log_has("INFO [j] IP 192.0.2.1 is bad: 2 # last 2023-11-14 20:50:00 - incr 10m to 40m")
    );
    assert!(lab.log_has("NOTICE [j] Increase Ban 192.0.2.1 (3 # 40m -> 2023-11-14 22:53:20)"));
    assert_eq!(lab.stored(), ["AddBan 192.0.2.1 2400 3"]);
    lab.finish(Ok(()));
    lab.pass(Span::from_secs(2400));
    assert_eq!(lab.jobs_text(), ["mail Ban 192.0.2.1"]);
    lab.pass(Span::from_millis(1));
    assert_eq!(lab.jobs_text(), ["mail Ban 192.0.2.1", "fw Unban 192.0.2.1"]);
}

#[test]
fn a_ban_in_a_jail_that_waits_is_stored_even_if_it_is_over_by_then() {
    let options = |time| [("ignoreself", "no"), ("bantime.increment", "true"), ("bantime", time)];
    let actions = [("fw", firewall(&[]))];
    let mut lab = Lab::new();
    lab.send(vec![Value::str("server-stream"), stream(&options("30"), &actions)]);
    lab.work();
    // The new jail waits until the action of the old one has stopped.
    let restart = Value::List(vec![Value::str("--restart")]);
    let again = stream(&options("30"), &actions);
    lab.send(vec![Value::str("reload"), Value::str("--all"), restart, again]);
    assert_eq!(lab.jobs_text(), ["fw Stop "]);
    lab.forget();
    lab.own_work = true;
    lab.send(words("set j banip 192.0.2.1"));
    lab.pass(Span::from_secs(31));
    lab.answer(Answer::History(None));
    assert_eq!(lab.stored(), ["AddBan 192.0.2.1 30 1"]);
    // It follows the ban time of the jail, so it may last after all.
    lab.own_work = false;
    lab.send(words("set j bantime 600"));
    lab.work();
    assert_eq!(lab.ask("get j banned"), "['192.0.2.1']");
}

fn stored_ban(id: &str, secs: i64) -> Ticket {
    Ticket {
        id: Id::parse(id),
        address: None,
        time: Timestamp::default(),
        whole: true,
        ban_time: BanTime::from_secs(secs),
        ban_count: 1,
        failures: 3,
        matches: vec![],
        fields: Fields::default(),
        restored: true,
    }
}

#[test]
fn stored_bans_come_back_as_far_as_they_still_hold() {
    let mut lab = Lab::new();
    let row = |id: &str, age: i64, secs: i64| StoredBan {
        ticket: Ticket { time: Timestamp::from_secs(1_700_000_000 - age), ..stored_ban(id, secs) },
    };
    lab.rows = vec![
        row("192.0.2.1", 100, 600),
        row("192.0.2.2", 700, 600),
        row("192.0.2.3", 100, -1),
        row("192.0.2.4", 700, 3600),
        row("192.0.2.5", 100, 600),
    ];
    let quiet = [("norestored", "1"), ("actname", "mail")];
    let mut mail = mail();
    mail.extend(quiet.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
    let options = [("ignoreself", "no"), ("addignoreip", "192.0.2.5")];
    let stream = stream(&options, &[("fw", firewall(&[])), ("mail", mail)]);
    lab.send(vec![Value::str("server-stream"), stream]);
    lab.work();
    assert_eq!(lab.ran(), ["fw Start ", "mail Start ", "fw Ban 192.0.2.1", "fw Ban 192.0.2.3"]);
    assert!(lab.log_has("NOTICE [j] Restore Ban 192.0.2.1"));
    assert!(lab.log_has("INFO [j] Ignore 192.0.2.5 by ip"));
    assert!(!lab.stored().iter().any(|op| op.starts_with("AddBan")));
    assert_eq!(
        lab.ask("get j banip --with-time"),
        "['192.0.2.1 \\t2023-11-14 22:11:40 + 600 = 2023-11-14 22:21:40', \
          '192.0.2.3 \\t2023-11-14 22:11:40 + 600 = 2023-11-14 22:21:40']"
    );
}

/// It was not banned again, but may be in force still: where `actionstop` leaves bans, nothing else
/// would ever take them back.
#[test]
fn a_restored_ban_that_an_action_left_out_is_taken_back() {
    let mut lab = Lab::new();
    lab.rows = vec![StoredBan {
        ticket: Ticket {
            id: Id::parse("192.0.2.1"),
            address: None,
            time: Timestamp::from_secs(1_700_000_000),
            whole: true,
            ban_time: BanTime::from_secs(600),
            ban_count: 1,
            failures: 3,
            matches: vec![],
            fields: Fields::default(),
            restored: true,
        },
    }];
    let actions = [("fw", firewall(&[("norestored", "1")]))];
    lab.send(vec![Value::str("server-stream"), stream(&[("ignoreself", "no")], &actions)]);
    lab.work();
    assert_eq!(lab.ran(), ["fw Start "]);
    lab.pass(Span::from_secs(601));
    assert_eq!(lab.jobs_text(), ["fw Unban 192.0.2.1"]);
}

/// Also where the answer had to wait, for the address of a name.
#[test]
fn what_is_refused_is_in_the_log() {
    let mut lab = started(&[]);
    lab.send(words("set j unbanip --report-absent 192.0.2.1"));
    lab.send(words("set j unbanip --report-absent h.example"));
    lab.send(words("set j unbanip 192.0.2.1"));
    lab.work();
    lab.send(words("get nobody maxretry"));
    let refused = lab.logs_with("has failed");
    assert_eq!(
        refused,
        [
            "ERROR Command ['set', 'j', 'unbanip', '--report-absent', '192.0.2.1'] has failed. \
             Received ValueError(\"not banned: ['192.0.2.1']\")",
            "ERROR Command ['set', 'j', 'unbanip', '--report-absent', 'h.example'] has failed. \
             Received ValueError(\"not banned: ['h.example']\")",
            "ERROR Command ['get', 'nobody', 'maxretry'] has failed. \
             Received UnknownJailException('nobody')",
        ]
    );
}

#[test]
fn a_notification_is_flushed_too() {
    let mut mail = mail();
    mail.push(("actionflush".into(), "f".into()));
    let mut lab = Lab::new();
    lab.send(vec![Value::str("server-stream"), stream(&[], &[("mail", mail)])]);
    lab.send(words("set j banip 192.0.2.1"));
    lab.work();
    lab.send(words("unban --all"));
    assert_eq!(lab.jobs_text(), ["mail Flush "]);
    lab.work();
    lab.send(words("stop"));
    assert_eq!(lab.jobs_text(), ["mail LastFlush "]);
}

#[test]
fn a_ban_time_of_zero_corrects_no_stored_ban() {
    let mut lab = Lab::new();
    // The stored begin is rounded: the ban has just been made, by the clock.
    let time = Timestamp::from_secs(1_700_000_001);
    let ticket = Ticket { time, restored: true, ..stored_ban("192.0.2.1", 30) };
    lab.rows = vec![StoredBan { ticket }];
    let stream = stream(&[("ignoreself", "no"), ("bantime", "0")], &[("fw", firewall(&[]))]);
    lab.send(vec![Value::str("server-stream"), stream]);
    lab.work();
    assert_eq!(
        lab.ask("get j banip --with-time"),
        "['192.0.2.1 \\t2023-11-14 22:13:21 + 30 = 2023-11-14 22:13:51']"
    );
}

#[test]
fn a_repaired_action_gets_its_bans_again() {
    let mut lab = started(&[]);
    lab.send(words("set j banip 192.0.2.1 192.0.2.2"));
    lab.work();
    lab.forget();
    lab.send(words("set j banip 192.0.2.3"));
    lab.repaired();
    assert_eq!(lab.jobs_text(), ["fw Ban 192.0.2.3", "fw Reban 192.0.2.1", "fw Reban 192.0.2.2"]);
    assert!(lab.log_has("NOTICE [j] Reban 192.0.2.1, action 'fw'"));
    lab.work();
    assert_eq!(lab.ask("get j banned"), "['192.0.2.1', '192.0.2.2', '192.0.2.3']");
    assert_eq!(lab.count_log("[j] Ban 192.0.2.1"), 0);
}

#[test]
fn jails_share_a_log_and_store_its_position_behind_its_failures() {
    let mut lab = Lab::new();
    for jail in ["a", "b"] {
        for line in [
            "add NAME polling",
            "set NAME ignoreself no",
            "set NAME maxretry 1",
            "set NAME addlogpath /var/log/x",
            "set NAME addfailregex bad<F-ID>\\w+</F-ID>",
        ] {
            lab.send(words(&line.replace("NAME", jail)));
        }
    }
    let s = |t: &str| Value::str(t);
    let start = |jail: &str| Value::List(vec![s("start"), s(jail)]);
    lab.send(vec![s("server-stream"), Value::List(vec![start("a"), start("b")])]);
    lab.work();
    let opened = lab.sources();
    assert_eq!(opened.len(), 1, "{opened:?}");
    let source = opened[0];
    let position = |offset: f64| Position { first_line: "h".into(), offset, cursor: None };
    lab.handle(Event::Source(source, SourceState::Open(position(0.0))));
    assert!(lab.log_has("INFO Added logfile: '/var/log/x' (pos = 0, hash = h)"));
    lab.forget();
    let data = b"2023-11-14 22:13:19 badone\n2023-11-14 22:13:19 fine\n".to_vec();
    let at = position(data.len() as f64);
    let batch = Batch { source, data, live: true, position: at, times: vec![] };
    lab.handle(Event::Lines(batch.clone()));
    assert!(lab.log_has("NOTICE [a] Ban one") && lab.log_has("NOTICE [b] Ban one"));
    let stored = lab.stored();
    assert_eq!(stored.iter().filter(|op| op.starts_with("LogPosition")).count(), 2, "{stored:?}");
    lab.forget();
    lab.handle(Event::Lines(batch.clone()));
    assert!(!lab.stored().iter().any(|op| op.starts_with("LogPosition")));
    lab.pass(Span::from_secs(10));
    assert!(lab.stored().iter().any(|op| op == "LogPosition a 52"), "{:?}", lab.stored());
    // One of two readers stops: the source stays; the other stops: it is closed.
    lab.send(words("stop a"));
    lab.work();
    assert!(lab.closed.is_empty());
    lab.send(words("stop b"));
    lab.work();
    assert_eq!(lab.closed, [source]);
}

#[test]
fn a_long_way_to_the_end_of_a_log_is_shown_while_it_lasts() {
    let mut lab = Lab::new();
    for line in ["add j polling", "set j addlogpath /var/log/x", "start j"] {
        lab.send(words(line));
    }
    lab.work();
    let source = lab.sources()[0];
    let before = lab.ask("status j");
    let at = |offset: f64| Position { first_line: "h".into(), offset, cursor: None };
    let sought = SourceState::Sought { from: at(0.0), to: at(9e9), ordered: true };
    lab.handle(Event::Source(source, sought));
    assert!(lab.log_has(
        "INFO /var/log/x: begins at byte 9000000000, what is before (from 0) is older than findtime"
    ));
    let way = |read: u64| SourceState::CatchingUp { read: read << 30, total: 4 << 30 };
    lab.handle(Event::Source(source, way(1)));
    let catching = "('Catching up', ['/var/log/x (25 %, 1.00 of 4.00 GiB)'])";
    assert!(lab.ask("status j").contains(catching), "{}", lab.ask("status j"));
    assert!(lab.log_has("INFO /var/log/x: catching up, 25 %, 1.00 of 4.00 GiB"));
    lab.forget();
    // The log is told now and then only, status always.
    lab.handle(Event::Source(source, way(2)));
    assert!(lab.ask("status j").contains("50 %") && !lab.log_has("INFO /var/log/x"));
    lab.pass(Span::from_secs(10));
    lab.handle(Event::Source(source, way(3)));
    assert!(lab.log_has("INFO /var/log/x: catching up, 75 %, 3.00 of 4.00 GiB"));
    lab.handle(Event::Source(source, SourceState::CaughtUp));
    assert!(lab.log_has("INFO /var/log/x: caught up, new lines are watched from here on"));
    assert_eq!(lab.ask("status j"), before);
}

#[test]
fn steps_of_the_clock_neither_spin_nor_lose_bans() {
    let mut lab = started(&[("bantime", "60")]);
    lab.send(words("set j banip 192.0.2.1"));
    lab.work();
    lab.step_wall(Span::from_secs(-7200));
    lab.tick();
    assert_eq!(lab.ask("get j banned"), "['192.0.2.1']");
    let wait = lab.engine.next_deadline().wait(lab.now).unwrap();
    assert!(wait.0 > 0 && wait <= Span::from_secs(2), "{wait}");
    lab.step_wall(Span::from_secs(86_400));
    lab.tick();
    assert_eq!(lab.jobs_text(), ["fw Unban 192.0.2.1"]);
}

#[test]
fn names_found_in_logs_become_addresses() {
    let mut lab = Lab::new();
    for line in [
        "add j polling",
        "set j ignoreself no",
        "set j maxretry 1",
        "set j usedns warn",
        "set j addlogpath /var/log/x",
        "set j addfailregex from <HOST>$",
        "start j",
    ] {
        lab.send(words(line));
    }
    lab.work();
    lab.own_work = true;
    let source = lab.sources()[0];
    let data = b"2023-11-14 22:13:19 from host.example\n".to_vec();
    let position = Position { first_line: "h".into(), offset: 38.0, cursor: None };
    lab.handle(Event::Lines(Batch { source, data, live: true, position, times: vec![] }));
    assert_eq!(lab.asks_text(), ["Resolve(\"host.example\")"]);
    lab.answer(Answer::Addresses(Ok(vec![ip("192.0.2.1"), ip("2001:db8::1")])));
    assert!(lab.log_has(
        "WARNING Determined IP using DNS Lookup: host.example = {'192.0.2.1', '2001:db8::1'}"
    ));
    assert_eq!(lab.ask("get j banned"), "['192.0.2.1', '2001:db8::1']");
}

#[test]
fn a_combined_id_is_its_text() {
    let mut lab = started(&[("maxretry", "1")]);
    let pair = Id::Tuple(vec![Some("192.0.2.1".into()), Some("root".into())]);
    lab.fail(Failure { id: pair, ..failure(&lab, "x") });
    lab.work();
    assert_eq!(lab.ask("get j banned"), "[\"('192.0.2.1', 'root')\"]");
    lab.send(
        vec!["set", "j", "unbanip", "('192.0.2.1', 'root')"].into_iter().map(Value::str).collect(),
    );
    lab.work();
    assert_eq!(lab.last_reply(), Ok(Value::Int(1)));
}

#[test]
fn a_reload_neither_reads_a_log_twice_nor_loses_its_place() {
    let mut lab = Lab::new();
    let options = |tail: &'static str| {
        let s = |t: &str| Value::str(t);
        let set = |words: &[&str]| Value::List(words.iter().map(|w| s(w)).collect());
        let mut log = vec!["set", "j", "addlogpath", "/var/log/x"];
        log.extend((!tail.is_empty()).then_some(tail));
        Value::List(vec![set(&["add", "j", "polling"]), set(&log), set(&["start", "j"])])
    };
    lab.send(vec![Value::str("server-stream"), options("")]);
    lab.work();
    assert_eq!(lab.sources().len(), 1);
    for tail in ["tail", "", "head"] {
        assert_eq!(reload(&mut lab, options(tail)), Ok(Value::str("OK")));
    }
    assert_eq!((lab.sources().len(), lab.closed.len()), (1, 0));
    lab.send(words("set j idle on"));
    assert_eq!(lab.closed.len(), 1);
    lab.send(words("set j idle off"));
    assert_eq!(lab.sources().len(), 2);
}

/// `logpath = /var/log/x tail`, as a start and a reload send it.
fn tail_jail() -> Value {
    let set = |line: &str| Value::List(words(line));
    Value::List(["add j polling", "set j addlogpath /var/log/x tail", "start j"].map(set).to_vec())
}

/// Seven bytes into a file.
fn place() -> Position {
    Position { first_line: "h".into(), offset: 7.0, cursor: Some("1:2:".into()) }
}

#[test]
fn who_wants_a_log_from_its_end_is_answered_when_that_is_known() {
    let mut lab = started(&[]);
    let add = "set j addlogpath /var/log/x tail";
    lab.send(words(add));
    assert!(lab.open_reply() && lab.last_start() == StartAt::Tail);
    assert_eq!(lab.ask("ping"), "'pong'");
    lab.send(words("set j dellogpath /var/log/x"));
    assert!(!lab.open_reply());
    for state in ["end", "missing", "nothing"] {
        lab.send(words(add));
        assert!(lab.open_reply(), "{state}");
        match state {
            "end" => lab.end_is_at(&place()),
            "missing" => {
                let source = *lab.sources().last().unwrap();
                lab.handle(Event::Source(source, SourceState::Missing("gone".into())));
            }
            _ => {
                lab.pass(Span::from_secs(4));
                assert!(lab.open_reply());
                lab.pass(Span::from_secs(1));
            }
        }
        assert_eq!(lab.last_reply().unwrap().repr(), "['/var/log/x']", "{state}");
        lab.send(words("set j dellogpath /var/log/x"));
    }
    lab.send(words("set j addlogpath /var/log/y"));
    assert!(!lab.open_reply(), "from its start on it has no end to be found");
}

#[test]
fn starts_and_reloads_know_the_ends_of_logs_when_they_are_answered() {
    let mut lab = Lab::new();
    lab.send(vec![Value::str("server-stream"), tail_jail()]);
    assert!(lab.open_reply());
    lab.end_is_at(&place());
    assert_eq!(lab.last_reply(), Ok(Value::None));
    assert_eq!(reload(&mut lab, tail_jail()), Ok(Value::str("OK")));
    // The next jail of that name begins when this one has ended.
    for line in ["set j addaction fw", "set j action fw actionstop s"] {
        lab.send(words(line));
    }
    lab.pass(Span::from_secs(2));
    lab.work();
    let options = Value::List(vec![Value::str("--restart")]);
    lab.send(vec![Value::str("reload"), Value::str("--all"), options, tail_jail()]);
    assert!(lab.open_reply() && lab.sources().len() == 1);
    lab.work();
    assert!(lab.open_reply() && lab.sources().len() == 2);
    lab.end_is_at(&place());
    assert_eq!(lab.last_reply(), Ok(Value::str("OK")));
}

#[test]
fn a_log_goes_on_where_it_was_left() {
    let saved = |place: Position, lab: &Lab| {
        let since = lab.now.wall.minus(Span::from_secs(600));
        StartAt::Head { saved: Some(place), since }
    };
    // Its end was looked up for a jail that is started later.
    let mut lab = Lab::new();
    lab.send(words("add j polling"));
    lab.send(words("set j addlogpath /var/log/x tail"));
    assert!(lab.open_reply() && lab.last_start() == StartAt::Tail);
    lab.end_is_at(&place());
    assert_eq!(lab.last_reply().unwrap().repr(), "['/var/log/x']");
    assert_eq!(lab.closed, lab.sources());
    assert_eq!(lab.ask("start j"), "None");
    assert_eq!(lab.last_start(), saved(place(), &lab));
    // What came during a pause is read after it.
    let later = Position { offset: 21.0, ..place() };
    lab.end_is_at(&later);
    lab.send(words("set j idle on"));
    lab.send(words("set j idle off"));
    assert_eq!(lab.last_start(), saved(later, &lab));
    // Who asks anew for its end gets that.
    lab.send(words("set j dellogpath /var/log/x"));
    lab.send(words("set j addlogpath /var/log/x tail"));
    assert_eq!(lab.last_start(), StartAt::Tail);
}

/// A jail with a firewall, and an action written in Python.
fn with_python() -> Lab {
    let mut lab = Lab::new();
    for line in [
        "add j polling",
        "set j addaction fw",
        "set j action fw actionban b",
        "set j action fw actionunban u",
        "set j addaction py /x/py.py {}",
        "set j action py early 1",
        "start j",
    ] {
        lab.send(words(line));
    }
    lab
}

fn describe(lab: &mut Lab, at: usize, traits: Traits) {
    let action = lab.jobs[at].action;
    lab.handle(Event::Described(action, traits));
}

#[test]
fn a_python_action_is_used_when_it_is_known() {
    let enforcing = Traits { enforces: true, ..Traits::default() };
    // It turns out to enforce: bans wait for it, and are announced when it has them in force.
    let mut lab = with_python();
    let attack = failure(&lab, "1.2.3.4");
    for _ in 0..3 {
        lab.fail(attack.clone());
    }
    assert_eq!(lab.jobs_text(), ["fw Start ", "py Start ", "fw Ban 1.2.3.4"]);
    assert_eq!(lab.jobs[1].spec.get("early"), Some("1"), "what was set before it ran");
    lab.finish(Ok(()));
    lab.jobs.swap(0, 1);
    lab.finish(Ok(()));
    assert!(!lab.log_has("NOTICE [j] Ban 1.2.3.4"), "it may be one that enforces");
    assert_eq!(lab.ask("get j banip"), "[]");
    describe(&mut lab, 0, enforcing);
    assert_eq!(lab.jobs_text(), ["py Start ", "py Ban 1.2.3.4"]);
    lab.work();
    assert!(lab.log_has("NOTICE [j] Ban 1.2.3.4"));

    // It only notifies: it is told when the others have done their part.
    let mut lab = with_python();
    for _ in 0..3 {
        lab.fail(attack.clone());
    }
    describe(&mut lab, 1, Traits::default());
    assert_eq!(lab.jobs_text(), ["fw Start ", "py Start ", "fw Ban 1.2.3.4"]);
    lab.work();
    assert_eq!(lab.ran().last().unwrap(), "py Ban 1.2.3.4");
    assert!(lab.log_has("NOTICE [j] Ban 1.2.3.4"));
    lab.send(words("set j unbanip 1.2.3.4"));
    lab.work();
    assert_eq!(lab.ran().last().unwrap(), "py Unban 1.2.3.4", "unlike a command, it hears of it");
}

#[test]
fn a_python_action_that_was_taken_for_another_kind() {
    let enforcing = Traits { enforces: true, ..Traits::default() };
    for (guess, truth) in [(enforcing, Traits::default()), (Traits::default(), enforcing)] {
        let mut lab = with_python();
        let attack = failure(&lab, "1.2.3.4");
        for _ in 0..3 {
            lab.fail(attack.clone());
        }
        // It cannot be loaded, and is tried again; its text tells what it may be.
        lab.finish(Ok(()));
        describe(&mut lab, 0, guess);
        lab.finish(Err("no python3"));
        while lab.jobs.iter().any(|j| j.op == ActionOp::Ban) {
            let name = lab.jobs[0].spec.name.clone();
            lab.finish(if name == "py" { Err("no python3") } else { Ok(()) });
        }
        let shown = if guess.enforces { "[]" } else { "['1.2.3.4']" };
        assert_eq!(lab.ask("get j banip"), shown);
        assert!(lab.ask("status j").contains("('Failing actions', ['py'])"));
        lab.forget();
        lab.pass(Span::from_secs(1));
        assert_eq!(lab.jobs_text().first().unwrap(), "py Start ");
        describe(&mut lab, 0, truth);
        lab.work();
        lab.pass(Span::from_secs(2));
        lab.work();
        let bans = lab.ran().iter().filter(|r| *r == "py Ban 1.2.3.4").count();
        assert!(bans >= 1, "{guess:?} {truth:?}: {:?}", lab.ran());
        assert_eq!(lab.ask("get j banip"), "['1.2.3.4']");
    }
}

#[test]
fn a_python_action_is_asked_itself() {
    let mut lab = Lab::new();
    lab.ask("add j polling");
    lab.ask("set j addaction py /x/py.py {\"a\":1}");
    assert!(lab.ask_error("get j action py a").contains("does not run"));
    assert!(lab.ask_error("get j actionmethods py").contains("does not run"));
    lab.ask("set j action py a 2");
    lab.ask("start j");
    lab.own_work = true;
    for (line, asked, answer, shown) in [
        ("get j action py a", "what: Get(\"a\")", Value::Int(5), "5"),
        ("set j action py a 6", "what: Set([(\"a\", Str(\"6\"))])", Value::str("6"), "'6'"),
        ("set j action py go", "what: Set([(\"go\", None)])", Value::None, "None"),
        ("get j actionproperties py", "what: Names", Value::strs(["a"]), "['a']"),
        ("get j actionmethods py", "what: Methods", Value::strs(["go"]), "['go']"),
    ] {
        lab.drop_asks();
        lab.send(words(line));
        assert!(lab.open_reply(), "{line}");
        assert!(lab.asks_text().concat().contains(asked), "{line}: {:?}", lab.asks_text());
        lab.answer(Answer::Property(Ok(answer)));
        assert_eq!(lab.last_reply().unwrap().repr(), shown, "{line}");
    }
    // Nobody waits for ever, and a late answer is nobody's.
    lab.drop_asks();
    lab.send(words("get j action py a"));
    lab.pass(Span::from_secs(61));
    assert!(lab.last_reply().unwrap_err().contains("has not answered for 60 seconds"));
    lab.answer(Answer::Property(Ok(Value::None)));
    // Many at once.
    let s = |t: &str| Value::str(t);
    let pair = |k: &str, v: &str| Value::List(vec![s(k), s(v)]);
    let pairs = Value::List(vec![pair("a", "1"), pair("b", "2")]);
    lab.drop_asks();
    lab.send(vec![s("multi-set"), s("j"), s("action"), s("py"), pairs]);
    lab.answer(Answer::Property(Ok(s("2"))));
    assert_eq!(lab.last_reply().unwrap(), Value::Bool(true));
}

#[test]
fn a_flush_that_leaves_it_to_single_unbans_is_no_fault() {
    let mut lab = with_python();
    let traits = Traits { enforces: true, flush: true, ..Traits::default() };
    describe(&mut lab, 1, traits);
    lab.work();
    lab.send(words("set j banip 1.2.3.4"));
    lab.work();
    lab.forget();
    lab.send(words("unban --all"));
    while let Some(job) = lab.jobs.front() {
        let declined = job.op == ActionOp::Flush;
        lab.finish(if declined { Err("") } else { Ok(()) });
    }
    assert_eq!(lab.ran(), ["fw Unban 1.2.3.4", "py Flush ", "py Unban 1.2.3.4"]);
    assert_eq!(lab.count_log("Failed"), 0);
    assert!(lab.log_has("NOTICE [j] Flush ticket(s) with py"));
}

#[test]
fn a_reload_keeps_a_python_action_that_is_as_it_was() {
    let mut lab = Lab::new();
    let s = |t: &str| Value::str(t);
    let stream = |params: &str| {
        let action = ["set", "j", "addaction", "py", "/x/py.py", params].map(s).to_vec();
        let list =
            [["add", "j", "polling"].map(s).to_vec(), action, ["start", "j"].map(s).to_vec()];
        Value::List(list.into_iter().map(Value::List).collect())
    };
    lab.send(vec![s("server-stream"), stream("{}")]);
    describe(&mut lab, 0, Traits { enforces: true, ..Traits::default() });
    lab.work();
    lab.send(words("set j banip 1.2.3.4"));
    lab.work();
    lab.forget();
    reload(&mut lab, stream("{}")).unwrap();
    assert!(lab.ran().is_empty(), "{:?}", lab.ran());
    // Other parameters make another object.
    let words = vec![s("reload"), s("--all"), Value::List(vec![]), stream("{\"a\": 1}")];
    lab.send(words);
    lab.work();
    let restart = ["py Unban 1.2.3.4", "py Stop ", "py Start "];
    assert_eq!(lab.ran(), restart);
}

#[test]
fn journal_matches_are_checked_and_grouped() {
    let mut lab = Lab::new();
    lab.ask("add j systemd");
    assert_eq!(lab.ask("set j addjournalmatch A=1 B=2 + C="), "[['A=1', 'B=2'], ['C=']]");
    for bad in ["a=1", "=1", "A", "__CURSOR=x", "A-B=1", "/usr/sbin/sshd"] {
        let error = lab.ask_error(&format!("set j addjournalmatch D=4 {bad}"));
        assert!(error.contains("Invalid match") && error.contains(bad), "{error}");
    }
    let error = lab.ask_error("set j deljournalmatch C=1");
    assert!(error.contains("Match ['C=1'] not found"), "{error}");
    assert_eq!(lab.ask("set j deljournalmatch A=1 B=2"), "[['C=']]");
    assert!(lab.log_has("INFO [j] Removed journal match for: ['A=1', 'B=2']"));
}

/// Jails share a stream of the journal, except one that has read it up to another place: it would
/// count the same entries twice.
#[test]
fn jails_share_a_journal_from_the_same_place_on() {
    let mut lab = Lab::new();
    for name in ["a", "b", "c"] {
        lab.ask(&format!("add {name} systemd"));
    }
    lab.own_work = true;
    let s = |t: &str| Value::str(t);
    let start = |jail: &str| Value::List(vec![s("start"), s(jail)]);
    lab.send(vec![s("server-stream"), Value::List(["a", "b", "c"].map(start).to_vec())]);
    while let Some(ask) = lab.asks_text().first().cloned() {
        let place = ask.contains("\"c\"").then(|| Position {
            first_line: "then".into(),
            offset: 5.0,
            cursor: Some("s=1".into()),
        });
        lab.answer(match ask {
            ask if ask.starts_with("LogPosition") => Answer::LogPosition(place),
            ask if ask.starts_with("Restore") => Answer::Bans(vec![]),
            _ => Answer::Addresses(Ok(vec![])),
        });
    }
    assert_eq!(lab.sources().len(), 2, "{:?}", lab.sources());
    assert_eq!(lab.count_log("started without 'journalmatch' set"), 3);
}

/// Once, although store and engine both know.
#[test]
fn a_store_that_cannot_write_is_told_of() {
    let mut lab = Lab::new();
    lab.handle(Event::StoreState(Err("Cannot write to the database '/d': full".into())));
    assert!(lab.log_has(
        "ERROR Cannot write to the database '/d': full; bans go on and are kept in memory until it \
         can be written again"
    ));
    lab.handle(Event::StoreState(Ok(())));
    assert!(lab.log_has("NOTICE The database can be written again"));
    assert_eq!(lab.count_log("database"), 2);
}
