//! What an action can do wrong is its own trouble: the next call works, nobody else notices, and the
//! log says what happened.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sekisho_core::action::PastBans;
use sekisho_core::effect::{ActionOp, ActionSpec, Level, Property, Traits};
use sekisho_core::failure::MatchedLine;
use sekisho_core::time::Span;
use sekisho_core::value::Value;

use super::{action, python};
use crate::bench::{Bench, ticket};

/// An action that is written for one test: `ban` is the body of `ban()`.
struct Trial {
    folder: tempfile::TempDir,
    spec: Arc<ActionSpec>,
    bench: Bench,
}

impl Trial {
    fn new(ban: &str) -> Trial {
        Self::with("", ban)
    }

    /// `more` is the rest of the class, or overrides what is there.
    fn with(more: &str, ban: &str) -> Trial {
        let indented = |text: &str, by: &str| {
            text.trim().lines().map(|line| format!("{by}{line}\n")).collect::<String>()
        };
        let text = format!(
            "import os, signal, sys, threading, time\n\
             from fail2ban.server.action import ActionBase\n\
             class Action(ActionBase):\n    timeout = 30\n    mode = ''\n\
             \x20   def __init__(self, jail, name, record):\n\
             \x20       super().__init__(jail, name)\n        self.record = record\n\
             \x20   def write(self, *what):\n\
             \x20       with open(self.record, 'a') as f: f.write(' '.join(map(str, what)) + '\\n')\n\
             \x20   def start(self): self.write('start', os.getpid(), self.mode)\n\
             \x20   def stop(self): self.write('stop')\n\
             \x20   def unban(self, aInfo): self.write('unban', aInfo['ip'])\n\
             \x20   def ban(self, aInfo):\n\
             \x20       ip = str(aInfo['ip'])\n{}{}{}",
            indented(ban, "        "),
            "        self.write('ban', ip)\n",
            indented(more, "    "),
        );
        Self::file(&text)
    }

    fn file(text: &str) -> Trial {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trial.py");
        fs::write(&file, text).unwrap();
        let record = folder.path().join("record");
        let params = serde_json::json!({ "record": record }).to_string();
        Trial { spec: action(&file, &params), folder, bench: Bench::new() }
    }

    fn run(&self, op: ActionOp, ip: &str) -> Result<(), String> {
        let ip = (!ip.is_empty()).then_some(ip);
        self.bench.send(1, &self.spec, op, ip);
        self.bench.outcome().1
    }

    fn start(&self) {
        assert_eq!(self.run(ActionOp::Start, ""), Ok(()));
    }

    fn ban(&self, ip: &str) -> Result<(), String> {
        self.run(ActionOp::Ban, ip)
    }

    /// What was recorded since the last look; numbers of processes are left out.
    fn record(&self) -> String {
        let file = self.folder.path().join("record");
        let text = fs::read_to_string(&file).unwrap_or_default();
        let _ = fs::remove_file(file);
        let words = text.split_whitespace().filter(|w| w.parse::<u32>().is_err());
        words.collect::<Vec<_>>().join(" ")
    }

    /// The number of the running process.
    fn process(&self) -> Pid {
        let record = fs::read_to_string(self.folder.path().join("record")).unwrap();
        let start = record.lines().rev().find(|line| line.starts_with("start")).unwrap();
        Pid::from_raw(start.split(' ').nth(1).unwrap().parse().unwrap()).unwrap()
    }

    fn logged(&self, level: Level, part: &str) -> bool {
        self.bench.texts(level).iter().any(|text| text.contains(part))
    }

    #[track_caller]
    fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !done(self) {
            assert!(Instant::now() < end, "{what}: {:?}", self.bench.texts(Level::Info));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn runs(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap().starts_with(" Z"))
}

#[test]
fn an_exit_is_an_error_of_that_call() {
    if !python() {
        return;
    }
    let trial = Trial::new("if ip == '192.0.2.1': sys.exit(3)");
    trial.start();
    let process = trial.process();
    let reason = trial.ban("192.0.2.1").unwrap_err();
    assert_eq!(reason, "the action called sys.exit(3)");
    assert_eq!(trial.ban("192.0.2.2"), Ok(()));
    assert_eq!(trial.process(), process, "nothing had to be started again");
    assert_eq!(trial.record(), "start ban 192.0.2.2");
}

#[test]
fn an_endless_loop_ends_at_the_time_limit() {
    if !python() {
        return;
    }
    let trial = Trial::new("while ip == '192.0.2.1': pass");
    trial.start();
    assert_eq!(trial.ban("192.0.2.9"), Ok(()));
    // Settings of clients outlive the process.
    let set = |name: &str, value: &str| {
        let what = Property::Set(vec![(name.into(), Value::str(value))]);
        trial.bench.ask(1, what).unwrap()
    };
    assert_eq!(set("mode", "set"), Value::str("set"));
    // It is the limit of what has to work afterwards, too.
    assert_eq!(set("timeout", "2.5"), Value::str("2.5"));
    let process = trial.process();
    let began = Instant::now();
    assert_eq!(trial.ban("192.0.2.1").unwrap_err(), "timed out after 2.5 seconds");
    assert!(began.elapsed() < Duration::from_secs(40), "not sixty seconds");
    assert!(!runs(process), "it is ended");
    assert_eq!(trial.record(), "start ban 192.0.2.9");
    trial.bench.send(1, &trial.spec, ActionOp::Ban, Some("192.0.2.2"));
    let (_, result, repaired) = trial.bench.outcome();
    assert_eq!((result, repaired), (Ok(()), true), "what was banned before may be gone");
    assert_eq!(trial.record(), "start set ban 192.0.2.2");
}

#[test]
fn a_crash_is_survived() {
    if !python() {
        return;
    }
    let body = "
if ip == '192.0.2.1': os._exit(7)
if ip == '192.0.2.2': os.kill(os.getpid(), signal.SIGSEGV)
if ip == '192.0.2.3':
    if os.fork() == 0:
        time.sleep(30)
    os._exit(0)
if ip == '192.0.2.4':
    os.closerange(3, 1000)
    time.sleep(0.5)
    os._exit(8)";
    let trial = Trial::new(body);
    trial.start();
    for (ip, how) in [
        ("192.0.2.1", "exit code 7"),
        ("192.0.2.2", "signal 11"),
        ("192.0.2.3", "exit code 0"),
        // It ends some time after its output does, as on a busy machine.
        ("192.0.2.4", "exit code 8"),
    ] {
        let process = trial.process();
        let reason = trial.ban(ip).unwrap_err();
        assert!(
            reason.starts_with("its python3 process ended (") && reason.contains(how),
            "{reason}"
        );
        assert!(!runs(process));
        assert_eq!(trial.ban("192.0.2.9"), Ok(()), "after {ip}");
    }
    trial.record();
    assert_eq!(trial.run(ActionOp::Stop, ""), Ok(()));
    assert_eq!(trial.record(), "stop");
}

#[test]
fn a_process_that_always_fails_is_started_ever_more_rarely() {
    if !python() {
        return;
    }
    let trial = Trial::new("os._exit(1)");
    trial.start();
    for _ in 0..2 {
        assert!(trial.ban("192.0.2.1").unwrap_err().starts_with("its python3 process ended"));
    }
    let reason = trial.ban("192.0.2.1").unwrap_err();
    assert!(reason.contains("is started again in 1 second"), "{reason}");
    assert_eq!(trial.record(), "start start");
    // A stop is tried all the same: there may be something to clean up.
    assert_eq!(trial.run(ActionOp::Stop, ""), Ok(()));
    assert_eq!(trial.record(), "start stop");
}

#[test]
fn a_death_between_two_calls_is_noticed() {
    if !python() {
        return;
    }
    let trial = Trial::new("pass");
    trial.start();
    kill_process(trial.process(), Signal::KILL).unwrap();
    trial.until("a word about it", |t| {
        t.logged(Level::Error, "[j1] action 'act': its python3 process ended (signal 9)")
    });
    assert_eq!(trial.ban("192.0.2.1"), Ok(()));
    assert_eq!(trial.record(), "start start ban 192.0.2.1");
}

#[test]
fn what_it_prints_and_reads_is_none_of_our_talk() {
    if !python() {
        return;
    }
    let body = r#"
print('{"done": true}')
print("a \x1b[31m line\udc80")
os.write(1, b'{"failed": ["Exception", "forged"]}\nhalf a line')
sys.stderr.write("to stderr\n")
os.system("echo from a child; cat; echo to stderr >&2")
try: input()
except EOFError: self.write("EOF")
for i in range(100000): print("flood")
print("x" * 1000000)
sys.stdout.close()"#;
    let trial = Trial::new(body);
    trial.start();
    assert_eq!(trial.ban("192.0.2.1"), Ok(()));
    assert_eq!(trial.record(), "start EOF ban 192.0.2.1");
    assert_eq!(trial.run(ActionOp::Unban, "192.0.2.1"), Ok(()));
    let texts = trial.bench.texts(Level::Info);
    for part in [
        r#"[j1] action 'act' printed: '{"done": true}'"#,
        r"printed: 'a \x1b[31m line\\udc80'",
        r#"printed: '{"failed": ["Exception", "forged"]}'"#,
        "printed: 'half a lineto stderr'",
        "printed: 'from a child'",
        "printed 9", // … more lines, which are not shown
    ] {
        assert!(texts.iter().any(|text| text.contains(part)), "{part}: {:#?}", &texts[..12]);
    }
    assert!(texts.len() < 120, "{}", texts.len());
}

#[test]
fn much_and_hostile_data_arrives_as_it_is() {
    if !python() {
        return;
    }
    let more = "
def describe(self, text):
    return [len(text), text.count('\\n'), text[-40:]]";
    let trial = Trial::with(more, "self.last = aInfo['matches']; self.user = aInfo['F-*']['user']");
    trial.start();
    let hostile = "$(id) `id` %(ip)s {ip} \\n \u{0} \u{1b} \u{2028} \u{10ffff} '\"";
    let mut much = ticket("192.0.2.1");
    much.matches = (0..64)
        .map(|i| MatchedLine::Cut([format!("{i} "), "x".repeat(16 << 10), hostile.to_owned()]))
        .collect();
    much.fields.set("user", Value::str(hostile));
    let length: usize = much.matches.iter().map(|m| m.text().chars().count() + 1).sum();
    assert!(length > 1 << 20);
    trial.bench.send_ticket(1, &trial.spec, ActionOp::Ban, Some(much));
    assert_eq!(trial.bench.outcome().1, Ok(()));
    assert_eq!(trial.bench.ask(1, Property::Get("user".into())), Ok(Value::str(hostile)));
    // A client gets a megabyte at the most.
    let error = trial.bench.ask(1, Property::Get("last".into())).unwrap_err();
    assert!(error.text().contains("longer than a client may get"), "{error}");
    let program = "{\"text\": \"\"}".to_owned();
    let set = Property::Set(vec![("describe".into(), Value::Str(program))]);
    assert_eq!(trial.bench.ask(1, set).unwrap().repr(), "[0, 0, '']");
}

#[test]
fn what_cannot_be_loaded_is_said_with_its_place() {
    if !python() {
        return;
    }
    let start = "from fail2ban.server.action import ActionBase\n";
    let class = "class Action(ActionBase):\n    def __init__(self, jail, name, record): ";
    for (text, part, enforces) in [
        ("class A(:\n".to_owned(), "cannot be loaded: SyntaxError: ", false),
        ("x = 1\n".to_owned(), "module does not have 'Action' class", false),
        (format!("{start}import no_such_module\n"), "No module named 'no_such_module'", false),
        (
            "from fail2ban.server.action import CommandAction\n    def unban(self): 1".to_owned(),
            "IndentationError: unexpected indent (trial.py, line 2)",
            true,
        ),
        ("from fail2ban.server.action import CommandAction\n".to_owned(), "CommandAction", false),
        (
            "import fail2ban.server.filter\n".to_owned(),
            "No module named 'fail2ban.server.filter'",
            false,
        ),
        (format!("{start}{class}raise ValueError('no good')\n"), "ValueError: no good", false),
        (format!("{start}{class}import os; os._exit(4)\n"), "exit code 4", false),
        (format!("{start}import sys; print('bye'); sys.exit(2)\n"), "called sys.exit(2)", false),
    ] {
        let trial = Trial::file(&text);
        let reason = trial.run(ActionOp::Start, "").unwrap_err();
        assert!(reason.contains(part) && reason.contains("trial.py"), "{text}: {reason}");
        let traits = trial.bench.described.borrow().get(&1).copied();
        assert_eq!(traits, Some(Traits { enforces, ..Traits::default() }), "{text}");
        assert_eq!(trial.run(ActionOp::Stop, ""), Ok(()), "there is nothing to stop");
        // It can be tried again, and be another file by then.
        if text.contains("class A(") {
            let good = format!("{start}{class}pass\n");
            fs::write(trial.folder.path().join("trial.py"), good).unwrap();
            trial.start();
        }
    }
}

#[test]
fn what_enforces_is_found_out() {
    if !python() {
        return;
    }
    let class = "from fail2ban.server.action import ActionBase\n\
                 class Base(ActionBase):\n    def __init__(self, jail, name, record): pass\n";
    let known = |enforces| Traits { enforces, ..Traits::default() };
    for (unban, expected) in [
        ("class Action(Base): pass", known(false)),
        ("class Action(Base):\n    def unban(self, aInfo): pass", known(false)),
        ("class Action(Base):\n    def unban(self, aInfo):\n        '''Nothing.'''", known(false)),
        ("class Action(Base):\n    def unban(self, aInfo): return True", known(false)),
        ("class Action(Base):\n    def unban(self, aInfo): print(aInfo['ip'])", known(true)),
        (
            "class Other(Base):\n    def unban(self, aInfo): print()\nclass Action(Other): pass",
            known(true),
        ),
        (
            "class Action(Base):\n    _prolongable = True\n    def flush(self): pass\n    \
             def reload(self): pass\n    def consistencyCheck(self): pass\n",
            Traits { enforces: false, flush: true, prolong: true, check: true, reload: true },
        ),
    ] {
        let trial = Trial::file(&format!("{class}{unban}\n"));
        trial.start();
        assert_eq!(trial.bench.described.borrow().get(&1), Some(&expected), "{unban}");
    }
}

#[test]
fn its_threads_may_speak_at_any_time() {
    if !python() {
        return;
    }
    let more = "
def later(self):
    time.sleep(0.3)
    self._logSys.notice('said later')
    print('printed later')
    self._logSys.info('asked later: %r', self.kept['ipmatches'])
def start(self): pass";
    let trial = Trial::with(more, "self.kept = aInfo; threading.Thread(target=self.later).start()");
    trial.start();
    assert_eq!(trial.ban("192.0.2.1"), Ok(()));
    trial.until("the last word", |t| t.logged(Level::Info, "asked later: ''"));
    assert!(trial.logged(Level::Notice, "said later"));
    assert!(trial.logged(Level::Info, "printed: 'printed later'"));
}

#[test]
fn earlier_bans_are_asked_for_when_they_are_wanted() {
    if !python() {
        return;
    }
    let asked = Arc::new(AtomicUsize::new(0));
    let scopes: Arc<Mutex<Vec<String>>> = Arc::default();
    let past = {
        let (asked, scopes) = (Arc::clone(&asked), Arc::clone(&scopes));
        move |id: &sekisho_core::id::Id, jail: Option<&str>| {
            asked.fetch_add(1, Ordering::Relaxed);
            scopes.lock().unwrap().push(format!("{id} {jail:?}"));
            let lines = vec!["one".to_owned(), "two".to_owned()];
            Some(PastBans { lines, failures: if jail.is_some() { 7 } else { 9 } })
        }
    };
    let mut trial = Trial::new(
        "if ip == '192.0.2.2': self.write(*[str(aInfo[k]).replace('\\n', '+') for k in \
         ('ipmatches', 'ipfailures', 'ipjailmatches', 'ipjailfailures', 'ipmatches')])",
    );
    trial.bench = Bench::with_past(Arc::new(past));
    trial.start();
    assert_eq!(trial.ban("192.0.2.1"), Ok(()));
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    let before = trial.record();
    assert_eq!(before, "start ban 192.0.2.1");
    assert_eq!(trial.ban("192.0.2.2"), Ok(()));
    let record = fs::read_to_string(trial.folder.path().join("record")).unwrap();
    assert_eq!(record, "one+two 9 one+two 7 one+two\nban 192.0.2.2\n");
    let expected = ["192.0.2.2 None".to_owned(), "192.0.2.2 Some(\"j1\")".to_owned()];
    assert_eq!(*scopes.lock().unwrap(), expected, "each once");
}

#[test]
fn an_action_that_counts_its_epoch_up_gets_its_bans_again() {
    if !python() {
        return;
    }
    let more = "
banEpoch = 0
def consistencyCheck(self):
    self._jail.actions.banEpoch += 1
    self.banEpoch = self._jail.actions.banEpoch";
    let trial = Trial::with(more, "pass");
    trial.start();
    for expected in [true, true] {
        trial.bench.send(1, &trial.spec, ActionOp::Check, None);
        let (_, result, repaired) = trial.bench.outcome();
        assert_eq!((result, repaired), (Ok(()), expected));
        trial.bench.send(1, &trial.spec, ActionOp::Reban, Some("192.0.2.1"));
        let (_, result, repaired) = trial.bench.outcome();
        assert_eq!((result, repaired), (Ok(()), false));
    }
}

#[test]
fn processes_end_with_their_actions_and_with_us() {
    if !python() {
        return;
    }
    // Its own threads and children must not keep it.
    let more = "
def stop(self):
    threading.Thread(target=time.sleep, args=(60,)).start()
    os.system('sleep 60 & echo $! >>' + self.record)
    self.write('stop')";
    let stopped = Trial::with(more, "pass");
    stopped.start();
    let process = stopped.process();
    assert_eq!(stopped.run(ActionOp::Stop, ""), Ok(()));
    assert!(!runs(process));
    let children = fs::read_to_string(stopped.folder.path().join("record")).unwrap();
    let child = children.lines().find_map(|line| Pid::from_raw(line.parse().ok()?)).unwrap();
    stopped.until("the end of its child", |_| !runs(child));

    // Forgotten without a stop.
    let retired = Trial::new("pass");
    retired.start();
    let process = retired.process();
    retired.bench.runner.retire(sekisho_core::effect::ActionId(1));
    retired.until("its end", |_| !runs(process));

    // In the middle of a call, when everything ends.
    let busy = Trial::new("self.write('busy')\nwhile True: time.sleep(1)");
    busy.start();
    let process = busy.process();
    busy.bench.send(1, &busy.spec, ActionOp::Ban, Some("192.0.2.1"));
    busy.bench.send(1, &busy.spec, ActionOp::Ban, Some("192.0.2.2"));
    let record: PathBuf = busy.folder.path().join("record");
    busy.until("the call", |_| fs::read_to_string(&record).unwrap().contains("busy"));
    busy.bench.runner.stop(Span::from_millis(300));
    assert!(!runs(process));
    for expected in ["stopped, because the service ends", "the service ended before it could run"] {
        assert_eq!(busy.bench.outcome().1.unwrap_err(), expected);
    }
    assert_eq!(busy.ban("192.0.2.3").unwrap_err(), "the service is ending");
    let error = busy.bench.ask(1, Property::Names).unwrap_err();
    assert_eq!(error.text(), "the action does not run");
}
