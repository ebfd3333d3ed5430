//! Random configurations: jails, filters and actions over several files, made of the constructs of
//! the dialect, most of them right and some of them wrong.
#![allow(dead_code)]

use sekisho_oracle::Random;

use super::tree::Tree;

/// Options without a meaning of their own. A value refers to later ones only, most of the time, so
/// that few trees are loops.
const NAMES: &[&str] = &["x", "y", "mode", "z", "port", "chain"];
const JAILS: &[&str] = &["j", "k", "web-1", "Ssh"];
const WORDS: &[&str] = &[
    "1",
    "a b",
    "10m",
    "tcp",
    "DROP",
    "c,d",
    "[e]",
    "\"q\"",
    "'r'",
    "#h",
    "s;t",
    "é",
    "k=v",
    "u:v",
    "aggressive",
    "normal",
    "\\d+",
    "$i",
    "^",
    "a\tb",
    "(w)",
    "&",
    "*",
];
const REGEXES: &[&str] =
    &["^<HOST> failed", "bad <F-ID>\\S+</F-ID>", "(?i)x <ADDR>", "y<SKIPLINES>z"];

/// A tree of its own for every seed.
pub fn tree(seed: u64) -> Tree {
    let mut random = Random(seed);
    let mut maker = Maker { random: &mut random };
    let mut files = vec![("log".to_owned(), String::new())];
    files.push(("action.d/p.py".to_owned(), String::new()));
    let jails = 1 + maker.random.below(3);
    files.push(("jail.conf".to_owned(), maker.jail_file(jails, true)));
    for name in ["jail.local", "jail.d/a.conf", "jail.d/b.local", "inc.conf", "inc.local"] {
        if maker.random.one_in(3) {
            let text = maker.jail_file(1, false);
            files.push((name.to_owned(), text));
        }
    }
    for (kind, names) in
        [("filter", ["f", "g", "f.d/x", "common"]), ("action", ["a", "b", "a.d/x", "common"])]
    {
        for (at, name) in names.into_iter().enumerate() {
            let all = at < 2;
            if all || maker.random.one_in(3) {
                let text = maker.definition_file(kind, true);
                files.push((format!("{kind}.d/{name}.conf"), text));
            }
            if maker.random.one_in(4) {
                let text = maker.definition_file(kind, false);
                files.push((format!("{kind}.d/{name}.local"), text));
            }
        }
    }
    Tree { name: format!("seed {seed}"), files, expected: None }
}

struct Maker<'a> {
    random: &'a mut Random,
}

impl Maker<'_> {
    fn rarely(&mut self) -> bool {
        self.random.one_in(60)
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        self.random.pick::<&str>(from)
    }

    /// A name behind `after`, so that values do not contain each other.
    fn name(&mut self, after: usize) -> &'static str {
        if self.rarely() {
            return self.pick(&["nosuch", "x", "failregex", "actionban", "bantime"]);
        }
        let rest = NAMES.get(after..).filter(|rest| !rest.is_empty()).unwrap_or(&["last"]);
        self.random.pick::<&str>(rest)
    }

    /// A piece of a value: words, `%(…)s`, and where they mean something, tags.
    fn piece(&mut self, after: usize, tags: bool) -> String {
        let name = self.name(after);
        let kinds = if tags { 16 } else { 8 };
        match self.random.below(kinds) {
            0..3 => self.pick(WORDS).to_owned(),
            3 => format!("%({name})s"),
            4 => format!("%({})s", name.to_uppercase()),
            5 => format!("%(default/{name})s"),
            6 => match self.random.below(6) {
                0 => format!("%(known/{name})s"),
                1 => "%(__name__)s".to_owned(),
                2 => format!("%(sec/{name})s"),
                3 if self.rarely() => "%".to_owned(),
                4 if self.rarely() => "%(x)".to_owned(),
                _ => format!("%({name})s"),
            },
            7 => match self.random.below(4) {
                0 => "\n   next".to_owned(),
                1 => "\n\n\tlast".to_owned(),
                2 => "\n # comment\n   on".to_owned(),
                _ => " ; comment\n  on".to_owned(),
            },
            8..11 => format!("<{name}>"),
            11 => format!("<known/{name}>"),
            12 => format!("<sec/{name}>"),
            13 => format!("<{}>", name.to_uppercase()),
            14 => self.pick(&["<ip>", "<a b>", "<<", "> <", "<matches>", "<bantime>"]).to_owned(),
            _ => format!("<m-<{}>>", if self.random.one_in(4) { name } else { "mode" }),
        }
    }

    fn value(&mut self, after: usize, tags: bool) -> String {
        let count = 1 + self.random.below(3);
        let glue = self.pick(&["", " ", "-"]);
        let pieces: Vec<String> = (0..count).map(|_| self.piece(after, tags)).collect();
        pieces.join(glue)
    }

    /// `name[key=value, …]`
    fn with_parameters(&mut self, names: &[&str], keys: &[&str]) -> String {
        let name = if self.rarely() { "nope" } else { self.pick(names) };
        if self.random.one_in(3) {
            return name.to_owned();
        }
        let mut text = format!("{name}[");
        let count = self.random.below(4);
        for at in 0..count {
            let key = self.pick(keys);
            let value = self.random.pick(&["1", "v w", "%(x)s", "<known/y>", "aggressive", ""]);
            let value = if self.random.one_in(4) { self.pick(WORDS) } else { value };
            let value = match self.random.below(4) {
                0 if !value.contains(['"', ']', ',']) => value.to_owned(),
                1 if !value.contains('\'') => format!("'{value}'"),
                _ => format!("\"{}\"", value.replace('"', "")),
            };
            let value = if self.rarely() { format!("{value}\"") } else { value };
            text += &format!("{key}={value}");
            let separators = [", ", ",", ",\n      ", "][", "] [", " ,"];
            // A blank may stand in front of the comma only where there is no quotation mark.
            let most = if value.ends_with(['"', '\'']) { 5 } else { 6 };
            if at + 1 < count {
                text += separators.get(self.random.below(most)).unwrap_or(&",");
            }
        }
        if self.rarely() {
            return text;
        }
        text + "]"
    }

    fn line(&mut self, name: &str, value: &str) -> String {
        let name = if self.random.one_in(12) { name.to_uppercase() } else { name.to_owned() };
        let separator = self.pick(&[" = ", "=", " : ", " =", ":", "\t=\t"]);
        let comment = self.pick(&["", "", "", "", " ; comment", "\n# comment", "\n\n", "\n; c"]);
        // A line that is indented deeper than the one before would continue it.
        format!("{name}{separator}{value}{comment}\n")
    }

    fn garbage(&mut self) -> &'static str {
        if self.random.one_in(800) {
            return self.pick(&[
                "garbage\n",
                "[j\n",
                "= 1\n",
                "x = 1\nx = 2\n",
                "[]\n",
                "[DEFAULT]\n",
            ]);
        }
        ""
    }

    fn section(&mut self, name: &str, lines: Vec<(String, String)>) -> String {
        let mut text = format!("[{name}]\n");
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in lines {
            if !seen.contains(&name) {
                text += &self.line(&name, &value);
                text += self.garbage();
                seen.push(name);
            }
        }
        text
    }

    fn free_options(&mut self, most: usize, tags: bool) -> Vec<(String, String)> {
        let mut lines = Vec::new();
        for _ in 0..self.random.below(most + 1) {
            let at = self.random.below(NAMES.len());
            let value = self.value(at + 1, tags);
            let name = NAMES.get(at).copied().unwrap_or("x");
            lines.push((name.to_owned(), value));
        }
        lines
    }

    /// Values without any reference, so that every name is known.
    fn defaults(&mut self) -> Vec<(String, String)> {
        let plain = [("last", "L"), ("x", "X"), ("y", "Y"), ("mode", "normal"), ("z", "Z")];
        let more = [("port", "80,443"), ("chain", "INPUT")];
        let all = plain.into_iter().chain(more);
        all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn includes(&mut self, names: &[&str]) -> String {
        if !self.random.one_in(4) {
            return String::new();
        }
        let key = self.pick(&["before", "after"]);
        let name = self.pick(names);
        format!("[INCLUDES]\n{key} = {name}\n   nosuch.conf\n")
    }

    fn jail_option(&mut self) -> (String, String) {
        let options = [
            "filter",
            "action",
            "logpath",
            "maxretry",
            "findtime",
            "bantime",
            "ignoreip",
            "backend",
            "failregex",
            "ignoreregex",
            "prefregex",
            "maxlines",
            "datepattern",
            "journalmatch",
            "usedns",
            "bantime.increment",
            "bantime.formula",
            "ignorecommand",
            "ignoreself",
            "logencoding",
            "skip_if_nologs",
            "maxmatches",
            "x",
            "y",
            "port",
        ];
        let name = self.pick(&options);
        let keys = ["x", "y", "mode", "m-normal", "z", "logtype", "port"];
        let value = match name {
            "filter" => self.with_parameters(&["f", "f", "g"], &keys),
            "action" => {
                let keys = [
                    "x",
                    "y",
                    "port",
                    "chain",
                    "name",
                    "actname",
                    "actionban",
                    "blocktype",
                    "HOST",
                    "x?family=inet6",
                    "m-normal",
                    "timeout",
                    "A.b",
                ];
                let count = 1 + self.random.below(2);
                let glue = self.pick(&["\n   ", " ", "  "]);
                let names = if self.rarely() { ["q.py"; 4] } else { ["a", "a", "b", "p.py"] };
                let all: Vec<String> =
                    (0..count).map(|_| self.with_parameters(&names, &keys)).collect();
                all.join(glue)
            }
            "logpath" => {
                let paths =
                    ["@DIR@/log", "@DIR@/log tail", "@DIR@/l*g", "@DIR@/log\n  @DIR@/no", "/no"];
                self.pick(&paths).to_owned()
            }
            "maxretry" | "maxmatches" | "maxlines" => {
                let numbers = ["3", "+5", "1_0", "%(number)s", "007", "-1"];
                if self.rarely() { "many".to_owned() } else { self.pick(&numbers).to_owned() }
            }
            "backend" => {
                self.pick(&["auto", "polling", "systemd", "systemd[x=1]", "auto"]).to_owned()
            }
            "failregex" | "ignoreregex" | "prefregex" => {
                let known = format!("%(known/{name})s");
                let regex = self.pick(REGEXES).to_owned();
                let most_have_it = name == "failregex" || self.rarely();
                let with_known = most_have_it && self.random.one_in(3);
                if with_known { format!("{known}\n  {regex}") } else { regex }
            }
            "journalmatch" => self.pick(&["_A=b", "_A='b c' + _D=e\n   F=g", "_A=b"]).to_owned(),
            "usedns" => self.pick(&["yes", "no", "raw"]).to_owned(),
            "ignoreself" | "skip_if_nologs" | "bantime.increment" => {
                self.pick(&["true", "no", "ON", "maybe", "1"]).to_owned()
            }
            name => {
                let at = NAMES.iter().position(|n| *n == name).map_or(0, |at| at + 1);
                self.value(at, false)
            }
        };
        (name.to_owned(), value)
    }

    fn jail_file(&mut self, jails: usize, main: bool) -> String {
        let mut text = self.includes(&["inc.conf", "paths.conf", "./inc.conf", "no/inc.conf"]);
        let mut order: Vec<&str> = JAILS.to_vec();
        if main || self.random.one_in(3) {
            let mut lines = if main { self.defaults() } else { Vec::new() };
            if main {
                lines.push(("number".to_owned(), "4".to_owned()));
            }
            for _ in 0..self.random.below(3) {
                lines.insert(0, self.jail_option());
            }
            text += &self.section("DEFAULT", lines);
        }
        if main || self.random.one_in(4) {
            let mut lines = if main { self.defaults() } else { Vec::new() };
            lines.extend(self.free_options(2, false));
            text += &self.section("sec", lines);
        }
        for _ in 0..jails {
            let at = self.random.below(order.len());
            let name = order.remove(at);
            let mut lines = Vec::new();
            if main || self.random.one_in(4) {
                let on = self.pick(&["true", "1", "yes", "on", "TRUE", "false"]);
                lines.push(("enabled".to_owned(), on.to_owned()));
            }
            for _ in 0..self.random.below(7) {
                lines.push(self.jail_option());
            }
            text += &self.section(name, lines);
        }
        if self.random.one_in(20) { text.replace('\n', "\r\n") } else { text }
    }

    fn definition_file(&mut self, kind: &str, main: bool) -> String {
        let mut text = self.includes(&["common.conf", "g.conf", "b.conf"]);
        let options: &[&str] = if kind == "filter" {
            &[
                "failregex",
                "ignoreregex",
                "prefregex",
                "datepattern",
                "journalmatch",
                "usedns",
                "maxlines",
                "logtype",
                "m-aggressive",
            ]
        } else {
            &[
                "actionban",
                "actionunban",
                "actionstart",
                "actionstop",
                "actioncheck",
                "norestored",
                "actionstart_on_demand",
                "timeout",
                "m-aggressive",
            ]
        };
        if main {
            let mut lines = self.defaults();
            lines.push(("m-normal".to_owned(), "M".to_owned()));
            text += &self.section("DEFAULT", lines);
        }
        let mut sections: Vec<(&str, Vec<(String, String)>)> = Vec::new();
        let mut lines = Vec::new();
        for at in 0..(1 + self.random.below(5)) {
            // The first one is there in nearly all of them, so that jails can refer to it.
            let first = at == 0 && main && !self.rarely();
            let name =
                if first { options.first().copied().unwrap_or("") } else { self.pick(options) };
            let value = match name {
                "maxlines" => self.pick(&["2", "10"]).to_owned(),
                "usedns" => "warn".to_owned(),
                "norestored" | "actionstart_on_demand" => {
                    self.pick(&["1", "no", "%(x)s"]).to_owned()
                }
                "journalmatch" => self.value(0, true).replace(['"', '\'', '\\'], ""),
                "failregex" | "prefregex" => {
                    format!("{} {}", self.pick(REGEXES), self.value(0, true))
                }
                "m-aggressive" => "A".to_owned(),
                _ => self.value(0, true),
            };
            lines.push((name.to_owned(), value));
        }
        lines.extend(self.free_options(2, true));
        sections.push(("Definition", lines));
        if self.random.one_in(2) {
            let lines = self.free_options(3, true);
            sections.push(("Init", lines));
        }
        if kind == "action" && self.random.one_in(3) {
            let mut lines = self.free_options(2, false);
            lines.push(("blocktype".to_owned(), "six".to_owned()));
            sections.push(("Init?family=inet6", lines));
        }
        if main {
            let mut lines = self.defaults();
            lines.extend(self.free_options(2, false));
            sections.push(("sec", lines));
        }
        for (name, lines) in sections {
            text += &self.section(name, lines);
        }
        text
    }
}
