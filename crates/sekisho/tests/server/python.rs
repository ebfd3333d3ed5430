//! Actions written in Python, in a server as it is installed.

use std::os::unix::fs::symlink;

use sekisho_oracle::{Fail2ban, missing};

use super::*;

/// Writes down what happens to it, and its process.
const RECORDER: &str = "
import os, time
from fail2ban.server.action import ActionBase

class Action(ActionBase):
    def __init__(self, jail, name, record, word='none'):
        super().__init__(jail, name)
        self.record, self.word = record, word

    def write(self, *what):
        with open(self.record, 'a') as file:
            file.write(' '.join(str(w) for w in what) + '\\n')

    def start(self):
        with open(self.record + '.pid', 'w') as file:
            file.write(str(os.getpid()))
        self.write('start', self._jail.name, self._name, self.word)

    def stop(self):
        self.write('stop')

    def ban(self, aInfo):
        while os.path.exists(self.record + '.hold'):
            time.sleep(0.01)
        self.write('ban', aInfo['ip'], aInfo['failures'], aInfo['bantime'], aInfo['restored'],
                   len(aInfo['matches'].splitlines()), aInfo['F-*'].get('user'))

    def unban(self, aInfo):
        self.write('unban', aInfo['ip'])

    def note(self, text):
        self.write('note', text)
        return 'noted ' + text
";

impl Site {
    /// One jail with the recording Python action beside the usual one.
    fn with_python() -> Site {
        let site = Site::new();
        site.write("conf/action.d/py.py", RECORDER);
        let record = site.path("record");
        site.jails(&format!(
            "[alpha]\naction = record[name=alpha]\n         py.py[record={}, word=w]\n",
            record.display()
        ));
        site
    }

    /// The process of its action.
    fn python(&self) -> Pid {
        Pid::from_raw(self.read("record.pid").parse().unwrap()).unwrap()
    }

    /// Runs `fail2ban-client` of ours with another PATH.
    fn with_path(&self, path: &Path, args: &str) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fail2ban-client"));
        command.env("PATH", path).arg("-c").arg(self.path("conf"));
        command.args(args.split_whitespace()).output().unwrap().into()
    }
}

#[track_caller]
fn has_python() -> bool {
    let found = Command::new("python3")
        .args(["-c", "import sys; sys.exit(sys.version_info < (3, 6))"])
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        missing("python3 on PATH, 3.6 or newer");
    }
    found
}

/// A life of the recording action under a server; `client` is how that server is spoken to.
fn life(site: &Site, client: &dyn Fn(&str) -> Said) -> String {
    client("start").exits(0);
    site.until_file("record", "start");
    let user = format!("{} fail user=it's $(id) 192.0.2.1\n", stamp()).repeat(5);
    site.log(user);
    site.until_file("record", "ban 192.0.2.1");
    site.attack("2001:db8::1");
    site.until_file("record", "ban 2001:db8::1");
    client("get alpha action py word").exits(0).has(&["w\n"]);
    client("set alpha action py word other").exits(0).has(&["other\n"]);
    client("get alpha action py word").exits(0).has(&["other\n"]);
    client(r#"set alpha action py note {"text":"x"}"#).exits(0).has(&["noted x\n"]);
    client("get alpha action py nonsense").exits(255).has(&["no attribute 'nonsense'"]);
    client("set alpha action py note").exits(255).has(&["missing 1 required positional argument"]);
    let shown = client("get alpha actionproperties py").exits(0).text.clone();
    let methods = client("get alpha actionmethods py").exits(0).text.clone();
    client("set alpha unbanip 192.0.2.1").exits(0);
    site.until_file("record", "unban 192.0.2.1");
    client("stop").exits(0);
    format!("{shown}{methods}{}", site.read("record"))
}

#[test]
fn a_life_as_under_fail2ban() {
    if !has_python() {
        return;
    }
    let site = Site::with_python();
    let ours = life(&site, &|args| site.client(args));
    assert!(!wait_for_end(&site), "its process goes on");
    let Some(fail2ban) = Fail2ban::installed() else { return };
    let other = Site::with_python();
    let theirs = life(&other, &|args| {
        let mut command = fail2ban.program("fail2ban-client");
        command.arg("-c").arg(other.path("conf")).args(args.split_whitespace());
        command.output().unwrap().into()
    });
    assert_eq!(ours, theirs);
    sekisho_oracle::report("a Python action's life under a server", "fail2ban 1.0.2", 1, "life");
}

/// Whether the action's process is still there after a while.
fn wait_for_end(site: &Site) -> bool {
    let pid = site.python();
    !wait(|| !runs(pid))
}

#[test]
fn mails_of_the_stock_action() {
    let stock = Path::new("/etc/fail2ban/action.d/smtp.py");
    if !has_python() || !stock.exists() {
        return missing("fail2ban's smtp.py");
    }
    let site = Site::new();
    symlink(stock, site.path("conf/action.d/smtp.py")).unwrap();
    let mails = site.path("mails");
    let port = mail_server(&mails);
    site.jails(&format!(
        "[alpha]\naction = record[name=alpha]\n         smtp.py[host=127.0.0.1:{port}, \
         dest=root@example.com, matches=ipmatches]\n"
    ));
    site.client("-t").exits(0).has(&["OK: configuration test is successful"]);
    site.start();
    site.until_file("mails", "Subject: [Fail2Ban] alpha: started on");
    site.attack("192.0.2.1");
    site.until_file("mails", "Subject: [Fail2Ban] alpha: banned 192.0.2.1 from");
    let banned = site.read("mails");
    assert!(banned.contains("for 3600 seconds"), "{banned}");
    assert_eq!(count(&banned, "fail 192.0.2.1"), 5, "{banned}");
    // A restored ban is no news.
    site.client("stop").exits(0);
    site.until_file("mails", "Subject: [Fail2Ban] alpha: stopped on");
    site.start();
    site.until_banned("192.0.2.1");
    site.client("stop").exits(0);
    let mails = site.read("mails");
    assert_eq!(count(&mails, "alpha: banned"), 1, "{mails}");
    assert_eq!(count(&mails, "alpha: stopped"), 2, "{mails}");
}

#[test]
fn without_python_the_other_actions_go_on() {
    let site = Site::with_python();
    let bin = site.path("bin");
    fs::create_dir(&bin).unwrap();
    for name in ["sh", "echo", "true"] {
        let found = ["/bin", "/usr/bin"].map(|dir| Path::new(dir).join(name));
        symlink(found.iter().find(|path| path.exists()).unwrap(), bin.join(name)).unwrap();
    }
    let said = ["there is no python3 on the PATH", "install it", "py.py"];
    let place = format!("{}:", site.path("conf/jail.conf").display());
    let t = site.with_path(&bin, "-t");
    t.exits(255).has(&said).has(&[&place, "Jail 'alpha' action 'py' will not work"]);
    site.with_path(&bin, "start").exits(0).has(&said);
    site.until_file("server.log", "Failed to start jail 'alpha' action 'py': there is no python3");
    site.attack("192.0.2.1");
    site.until_file("acts", "record ban 192.0.2.1");
    site.until("status alpha", "Failing actions:\tpy");
    // It takes bans back, so it may be what bans: that is not claimed.
    site.until("status alpha", "Not enforced:\t192.0.2.1");

    // One that is too old to run it is no better.
    site.program("bin/python3", "#!/bin/sh\necho '{\"old\": \"3.4\"}'\n");
    site.with_path(&bin, "-t").exits(255).has(&["Python 3.4, and 3.6 is the oldest that will do"]);
    // And one that is none at all.
    site.program("bin/python3", "#!/bin/sh\necho no such luck >&2\nexit 3\n");
    site.with_path(&bin, "-t").exits(255).has(&["exit code 3; it said: no such luck"]);
    site.with_path(&bin, "reload").exits(0).has(&["exit code 3"]);
    site.with_path(&bin, "stop").exits(0);
    assert!(site.read("acts").contains("record unban 192.0.2.1"));
}

#[test]
fn a_file_with_a_fault_breaks_its_action_only() {
    if !has_python() {
        return;
    }
    let site = Site::with_python();
    site.write("conf/action.d/py.py", "from fail2ban.server.action import ActionBase\nclass A(:\n");
    let t = site.client("-t");
    t.exits(255).has(&["Jail 'alpha' action 'py' will not work: invalid syntax (py.py, line 2)"]);
    site.write("conf/action.d/py.py", "import sys; sys.exit('never run by a test')\n");
    site.client("-t").exits(255).has(&["py.py module does not have 'Action' class"]);
    site.start();
    site.until_file(
        "server.log",
        "cannot be loaded: the action called sys.exit(never run by a test)",
    );
    site.attack("192.0.2.1");
    site.until_banned("192.0.2.1");
    site.client("stop").exits(0);
}

#[test]
fn a_ban_that_its_process_did_not_end_is_made_by_the_next_one() {
    if !has_python() {
        return;
    }
    let site = Site::with_python();
    site.start();
    site.until_file("record", "start");
    site.write("record.hold", "");
    site.attack("192.0.2.1");
    site.until("get alpha banip", "192.0.2.1");
    kill_process(site.python(), Signal::KILL).unwrap();
    site.until_file("server.log", "its python3 process ended (signal 9)");
    fs::remove_file(site.path("record.hold")).unwrap();
    site.until_file("record", "ban 192.0.2.1");
    site.client("stop").exits(0);
    let record = site.read("record");
    assert_eq!(count(&record, "start"), 2, "{record}");
    assert_eq!(count(&record, "ban 192.0.2.1"), 2, "one ban, one unban: {record}");
}

#[test]
fn bans_survive_the_process_and_the_process_not_the_server() {
    if !has_python() {
        return;
    }
    let site = Site::with_python();
    site.start();
    site.until_file("record", "start");
    site.attack("192.0.2.1");
    // Counted as banned before the action has run.
    site.until_file("record", "ban 192.0.2.1");
    let first = site.python();
    kill_process(first, Signal::KILL).unwrap();
    site.until_file("server.log", "its python3 process ended (signal 9)");
    site.attack("192.0.2.2");
    site.until_banned("192.0.2.2");
    assert!(wait(|| count(&site.read("record"), "ban 192.0.2.1") == 2), "it is banned again");
    assert_eq!(count(&site.read("record"), "start"), 2);
    site.until("status alpha", "Currently banned:\t2");
    // A server that is killed takes it along.
    let second = site.python();
    site.signal(Signal::KILL);
    assert!(wait(|| !runs(second)), "the process outlives its server");
    site.start();
    site.until_banned("192.0.2.2");
    site.client("stop").exits(0);
}
