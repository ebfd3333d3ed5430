//! The commands of `commands.txt` and `client.txt`, given to both servers by both clients.

use std::fmt::Write as _;
use std::path::Path;

use sekisho_oracle::{Fail2ban, report};

use crate::client::{Client, Said};
use crate::site::{SERVER_CONF, Server, Site, WORD_CONF, now, soon};

/// A line of `commands.txt`, whose head explains them.
#[derive(Debug)]
pub enum Step {
    /// A command line.
    Run { words: Vec<String>, input: String, differs: Vec<Differs> },
    /// Lines for a log, each with the time in front.
    Append { file: String, line: String, times: usize },
    /// A command that is repeated until it says so.
    Until { words: Vec<String>, part: String },
    /// A file is waited for to have this text.
    UntilFile { file: String, part: String },
    /// A file gets this content.
    Write { file: String, text: String },
    /// A file is compared.
    File { file: String, differs: Vec<Differs> },
    /// The log is compared.
    Log { title: String, any_order: bool },
}

/// Where the next comparison is known to differ.
#[derive(Clone, Debug)]
pub struct Differs {
    /// `1.0.2`, or `all`.
    version: String,
    /// `server`, `client`, `value`.
    side: String,
    reason: String,
    /// What ours says, where it is not what another version of fail2ban says.
    ours: Option<String>,
}

impl Differs {
    pub fn concerns(&self, version: &str, side: &str) -> bool {
        self.side == side && (self.version == version || self.version == "all")
    }
}

pub struct Script(pub Vec<(String, Step)>);

impl Script {
    pub fn read(name: &str) -> Script {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/protocol").join(name);
        let text = std::fs::read_to_string(path).unwrap();
        let mut lines = text.lines().enumerate().peekable();
        let mut steps = Vec::new();
        let (mut input, mut differs) = (String::new(), Vec::new());
        while let Some((at, line)) = lines.next() {
            let mut block = || {
                let mut text = String::new();
                while let Some((_, line)) = lines.next_if(|(_, line)| line.starts_with("    ")) {
                    let _ = writeln!(text, "{}", unescape(&line[4..]));
                }
                text
            };
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            let step = match word {
                "" | "#" => continue,
                ":stdin" => {
                    input = unescape(rest);
                    continue;
                }
                ":differs" => {
                    let mut words = rest.splitn(3, ' ').map(str::to_owned);
                    let mut word = || words.next().expect("a version, a side and a reason");
                    let (version, side, reason) = (word(), word(), word());
                    let ours = Some(block()).filter(|text| !text.is_empty());
                    differs.push(Differs { version, side, reason, ours });
                    continue;
                }
                ":append" => {
                    let mut words = rest.splitn(3, ' ').map(str::to_owned);
                    let mut word = || words.next().expect("a file, a count and a line");
                    let (file, times) = (word(), word().parse().expect("a count"));
                    Step::Append { file, line: unescape(&word()), times }
                }
                ":until" => {
                    let (command, part) = rest.split_once(" ~ ").expect("a command ~ a text");
                    Step::Until { words: split(command), part: unescape(part) }
                }
                ":until-file" => {
                    let (file, part) = rest.split_once(" ~ ").expect("a file ~ a text");
                    Step::UntilFile { file: file.into(), part: unescape(part) }
                }
                ":write" => Step::Write { file: rest.into(), text: block() },
                ":log" => Step::Log { title: rest.into(), any_order: false },
                ":log-any-order" => Step::Log { title: rest.into(), any_order: true },
                ":file" => Step::File { file: rest.into(), differs: std::mem::take(&mut differs) },
                word => {
                    assert!(!word.starts_with(':'), "line {}: {word}", at + 1);
                    let (input, differs) =
                        (std::mem::take(&mut input), std::mem::take(&mut differs));
                    Step::Run { words: split(line), input, differs }
                }
            };
            steps.push((format!("{name}:{}", at + 1), step));
        }
        Script(steps)
    }
}

fn split(line: &str) -> Vec<String> {
    let words = sekisho_config::shlex::split(line).expect("quotes are closed");
    words.into_iter().map(|word| unescape(&word)).collect()
}

/// `\t`, `\n`; everything else is as it is.
fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

impl Site {
    /// Does what is not compared: writes files and logs, waits.
    pub fn prepare(&mut self, step: &Step, fault: &mut String) {
        match step {
            Step::Append { file, line, times } => {
                self.append(file, &format!("{} {line}\n", now()).repeat(*times));
            }
            Step::Write { file, text } => self.write(file, text),
            Step::Until { words, part } => {
                if let Err(said) = self.until(words, part) {
                    let _ = writeln!(fault, "{words:?} never said {part:?}: {said:?}");
                }
            }
            Step::UntilFile { file, part } => {
                let part = self.fill(part);
                if let Err(text) = soon(100, || self.read(file), |text| text.contains(&part)) {
                    let _ = writeln!(fault, "{file} never had {part:?}: {text}");
                }
            }
            Step::Run { .. } | Step::File { .. } | Step::Log { .. } => {}
        }
    }
}

/// The configuration of both: two jails that read a file each, an action that only writes down.
pub const TREE: &[(&str, &str)] = &[
    SERVER_CONF,
    (
        "conf/jail.conf",
        "[DEFAULT]\nenabled = true\nbackend = pyinotify\nusedns = no\nbantime = 1h\n\
         findtime = 1h\nmaxretry = 3\nignoreself = false\nfilter = word\nlogpath = {dir}/%(__name__)s.log\n\
         action = note[name=%(__name__)s]\n[web]\n[mail]\nmaxretry = 2\nbackend = polling\n",
    ),
    WORD_CONF,
    (
        "conf/action.d/note.conf",
        "[Definition]\nactionstart = echo 'start <name>' >> {dir}/acts\n\
         actionstop = echo 'stop <name>' >> {dir}/acts\n\
         actionban = echo 'ban <ip> <name> <word>' >> {dir}/acts\n\
         actionunban = echo 'unban <ip> <name>' >> {dir}/acts\n[Init]\nword = first\n",
    ),
    ("web.log", ""),
    ("mail.log", ""),
];

/// One client with one server, and what came of a step.
struct Pair {
    client: &'static str,
    server: &'static str,
    site: Site,
}

fn play(fail2ban: &Fail2ban) {
    let scripts = [Script::read("commands.txt"), Script::read("client.txt")];
    let servers = [("theirs", Server::Theirs(fail2ban.clone())), ("ours", Server::Ours)];
    let mut pairs = Vec::new();
    for (server, start) in &servers {
        for client in ["theirs", "ours"] {
            let program = match client {
                "ours" => Client::Ours,
                _ => Client::theirs(fail2ban),
            };
            let site = Site::new(TREE, program);
            site.start(start);
            pairs.push(Pair { client, server, site });
        }
    }
    let (mut commands, mut faults) = (0, String::new());
    for (line, step) in scripts.iter().flat_map(|script| &script.0) {
        for Pair { client, server, site } in &mut pairs {
            let mut fault = String::new();
            site.prepare(step, &mut fault);
            if !fault.is_empty() {
                let _ = writeln!(faults, "\n{line}: {client} client, {server} server: {fault}");
            }
        }
        match step {
            Step::File { file, differs } => {
                let said = |pair: &Pair| {
                    let out = pair.site.normal(file);
                    Said { code: 0, out, err: String::new() }
                };
                // Written by actions, which run after the bans are counted.
                let fault = || {
                    let said: Vec<Said> = pairs.iter().map(said).collect();
                    judge(&fail2ban.version, &pairs, &said, differs)
                };
                let fault = soon(100, fault, Option::is_none).unwrap_or_else(|fault| fault);
                faults.extend(fault.map(|fault| format!("\n{line}: file {file}\n{fault}")));
            }
            Step::Append { .. }
            | Step::Write { .. }
            | Step::Until { .. }
            | Step::UntilFile { .. }
            | Step::Log { .. } => {}
            Step::Run { words, input, differs } => {
                commands += 1;
                let run = |pair: &mut Pair| {
                    let Said { code, out, err } = pair.site.run(words, input);
                    let version = &fail2ban.version;
                    Said { code, out: rewrite(version, out), err: rewrite(version, err) }
                };
                let said: Vec<Said> = pairs.iter_mut().map(run).collect();
                let fault = judge(&fail2ban.version, &pairs, &said, differs);
                faults.extend(fault.map(|fault| format!("\n{line}: {words:?}\n{fault}")));
            }
        }
    }
    assert!(faults.is_empty(), "fail2ban {}:{faults}", fail2ban.version);
    assert!(commands >= 150, "{commands}");
    let judge = format!("fail2ban {}", fail2ban.version);
    report("client commands: both clients with both servers", &judge, commands, "commands");
}

/// What another generation writes differently in many answers: its text, and how 1.1 has it.
const REWRITES: &[(&str, &str, &str)] =
    // The expansion of `<HOST>`.
    &[("1.0.2", "{1,4}::?|::){1,7}", "{1,4}::?|:){1,7}")];

pub fn rewrite(version: &str, text: String) -> String {
    let of_version = REWRITES.iter().filter(|(of, ..)| *of == version);
    of_version.fold(text, |text, (_, from, to)| text.replace(from, to))
}

/// What is not as it has to be in what the four pairs said.
fn judge(version: &str, pairs: &[Pair], said: &[Said], differs: &[Differs]) -> Option<String> {
    let of = |client: &str, server: &str| {
        let at = pairs.iter().position(|p| p.client == client && p.server == server);
        &said[at.expect("all pairs are there")]
    };
    let known = |side: &str| differs.iter().find(|d| d.concerns(version, side));
    let mut text = String::new();
    let mut compare = |side: &str, couples: &[[(&str, &str); 2]]| {
        let couples = couples.iter().map(|[a, b]| ((a, of(a.0, a.1)), (b, of(b.0, b.1))));
        let different: Vec<_> = couples.filter(|(a, b)| a.1 != b.1).collect();
        match known(side) {
            None => {
                for (want, got) in different {
                    let text_of =
                        |said: &Said| format!("{} {:?} {:?}", said.code, said.out, said.err);
                    let (a, b) = (text_of(want.1), text_of(got.1));
                    let at = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
                    let from = a.floor_char_boundary(at.saturating_sub(80));
                    for ((client, server), said) in [(want.0, &a), (got.0, &b)] {
                        let part: String = said[from..].chars().take(400).collect();
                        let _ = writeln!(text, "{client:6} client, {server:6} server: …{part}");
                    }
                }
            }
            Some(differs) if different.is_empty() => {
                let _ = writeln!(text, "does not differ any more: {}", differs.reason);
            }
            Some(Differs { ours: Some(ours), .. }) => {
                let got = of("ours", "ours");
                // What is said of the folder is written as `{dir}`.
                if ours.replace("{dir}", "DIR") != got.out {
                    let _ = writeln!(text, "differs, but not as said: {got:#?}");
                }
            }
            Some(_) => {}
        }
    };
    let (theirs, ours) = ("theirs", "ours");
    compare("server", &[[(theirs, theirs), (theirs, ours)]]);
    compare("client", &[[(theirs, theirs), (ours, theirs)], [(theirs, ours), (ours, ours)]]);
    Some(text).filter(|text| !text.is_empty())
}

#[test]
fn clients_and_servers_are_interchangeable_1_0() {
    if let Some(fail2ban) = Fail2ban::installed() {
        play(&fail2ban);
    }
}

#[test]
fn clients_and_servers_are_interchangeable_1_1() {
    if let Some(fail2ban) = Fail2ban::newest() {
        play(&fail2ban);
    }
}
