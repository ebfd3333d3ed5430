//! Where libFuzzer begins: inputs made of our own configuration and sample lines, and of those of an
//! installed fail2ban, which are read where they are and written to the folder of one run alone.

use std::fs;
use std::path::{Path, PathBuf};

use sekisho::control::pickle::{encode, encode_reply};
use sekisho::control::socket::END;
use sekisho::embedded;
use sekisho::files::Disk;
use sekisho_config::files::{Files, MapFiles};
use sekisho_config::load::{LoadOptions, load};
use sekisho_core::command::{Change, Command, CommandError, ErrorClass};
use sekisho_core::date::table::{TEMPLATES, TOKENS};
use sekisho_core::value::Value;
use sekisho_oracle::Fail2ban;

use crate::SEPARATOR;
use crate::world::words;

/// The variable that names the folder for the seeds of a run.
const FOLDER: &str = "SEKISHO_FUZZ_SEEDS";

/// The options byte of a date input that leaves everything as usual.
const USUAL_DATE: u8 = 5 << 1;

/// Patterns for what no filter uses.
const PATTERNS: &[(&str, &str)] = &[
    (r"(?P<a>x+)(?(a)y|z)(?P=a)", "xxyxx"),
    (r"(?i:straße)|(?-i:K)\b", "STRASSE stra\u{df}e K"),
    (r"(?<=ab)c(?<!bc)|(?=d)d(?!e)", "abc df"),
    (r"(?>a|ab)c++d*?e{2,3}+f{,2}", "accdeeff"),
    (r"[^\W\d_]+[\s\S][]a-z^-]{2}\d+", "word-]a7"),
    (
        r"(?x) a b # comment
      [ ]  c",
        "ab c",
    ),
    (r"^a$\n^b\Z|\Aa", "a\nb"),
    (r"(?s).(?m)^.$|\x41\u0042\U00000043\103\n\t", "ABCC\n\t"),
    (r"((a)|b)*\2?", "abab"),
    (r"<HOST>(?::<F-PORT>\d+</F-PORT>)?<SKIPLINES>(?a)\w", "[2001:db8::1]:22\nx"),
    (r"((?:a?){3})(b|)\1", "aabaa"),
    (r"(?=(a+))a*b\1", "baaabac"),
    (r"(\w+\s?)*:", "many words and no colon here"),
];

/// What the pickle of a Python program looks like that is none of ours.
const PICKLES: &[&[u8]] = &[
    b"(lp0\nS'status'\np1\naS'sshd'\np2\na.",
    b"(dp0\nS'a'\np1\nI5\nsV\\u00e9\np2\nF1.5\ns.",
    b"\x80\x02]q\x00(X\x04\x00\x00\x00pingq\x01e.",
    b"\x80\x04\x95\x11\x00\x00\x00\x00\x00\x00\x00]\x94(\x8c\x06status\x94e.",
    b"(I0\n(lp0\n(S'Number of jail'\nI1\ntp1\natp2\n.",
    b"(I1\ncbuiltins\nValueError\n(S'no'\ntRt.",
    b"c__builtin__\nset\n((lp0\nI1\naI2\natR.",
    b"\x80\x03c_codecs\nencode\nX\x02\x00\x00\x00\xc3\xa9X\x06\x00\x00\x00latin1\x86R.",
    b"\x80\x04\x8f(K\x01\x88N\x90\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fG?\xf0\x00\x00\x00\x00\x00\x00\x87.",
];

/// Requests of clients.
const REQUESTS: &[&str] = &[
    "ping",
    "status",
    "status j stats",
    "set j banip 192.0.2.1 2001:db8::/32",
    "set j unbanip --report-absent 192.0.2.1",
    "set j addfailregex ^x<HOST>$",
    "set j datepattern %Y-%m-%d",
    "set j bantime.formula ban.Time*2",
    "set j ignorecache key=\"<ip>\",max-count=1",
    "get j banip --with-time",
    "get j action a actionban",
    "multi-set j action a x",
    "add k systemd[journalflags=1]",
    "reload --if-exists j x",
    "unban --all",
    "attempt j 192.0.2.1",
    "stop",
];

/// Lines for the filters that only `lines` has.
const LINES: &[&str] = &[
    "2026-11-23 02:24:50 host app[7]: user bob or ann\n2026-11-23 02:24:51 host app[7]: failed\n\
     2026-11-23 02:24:52 host app[7]: failed for eve\n2026-11-23 02:24:53 host app[7]: closed by 192.0.2.7\n",
    "2026-11-23 02:24:50 host app[8]: user bob\n2026-11-23 02:24:53 host app[8]: accepted from 192.0.2.8\n",
    "2026-11-23 02:24:50 begin 192.0.2.9\nother\n2026-11-23 02:24:50 end now\n\
     2026-11-23 02:24:50 single 192.0.2.0/24\n2026-11-23 02:24:50 begin 192.0.2.3\nbroken pipe\n",
    "2026-11-23 02:24:50 smtp: REFUSED eve from host.example:25\n\
     2026-11-23 02:24:50 smtp: no such host other.example\n02:24:51 smtp: bad address ::ffff:192.0.2.1\n",
    "2026-11-23 02:24 locked eve on door\n[1795400690] locked nobody\n\
     door 7 forced by ann at 23/Nov/2026:02:24:50 +0000\n",
];

/// For the `init` of a program: writes the seeds of a target to the folder that the variable names.
pub fn write(name: &str) {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let seeds = own(name).into_iter().chain(stock(name)).enumerate();
    seeds.for_each(|(n, seed)| {
        fs::write(folder.join(format!("seed-{n:04}")), seed).expect("seeds can be written");
    });
}

/// Seeds made of what is ours.
pub fn own(name: &str) -> Vec<Vec<u8>> {
    let mut lines = sample_lines(&root().join("config/samples"), true);
    lines.extend(sample_lines(&root().join("crates/core/tests/data/captured"), false));
    match name {
        "config" => own_trees(),
        "date" => dates().into_iter().chain(dated(&lines)).collect(),
        "lines" => batches(&lines, 4),
        "pickle" => pickles(),
        "regex" => {
            let few = PATTERNS.iter().map(|(pattern, text)| input(0, &[pattern, text]));
            let files = MapFiles::new("/etc/fail2ban", embedded::FILES.iter().copied());
            few.chain(patterns(&files, "/etc/fail2ban", &lines)).collect()
        }
        _ => Vec::new(),
    }
}

/// Seeds made of an installed fail2ban, if there is one.
fn stock(name: &str) -> Vec<Vec<u8>> {
    let Some(fail2ban) = Fail2ban::installed() else { return Vec::new() };
    let base = fail2ban.config.to_string_lossy().into_owned();
    let lines = sample_lines(&fail2ban.samples(), false);
    match name {
        "config" => trees(&Disk, &base, &names(&fail2ban.config.join("filter.d"))),
        "date" => dated(&lines),
        "lines" => batches(&lines, 1),
        "regex" => patterns(&Disk, &base, &lines),
        _ => Vec::new(),
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository").to_owned()
}

/// Options and texts as a target reads them.
fn input(options: u8, texts: &[&str]) -> Vec<u8> {
    let parts: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
    [&[options], parts.join(&SEPARATOR).as_slice()].concat()
}

/// The first lines of each sample file; in ours a TAB stands before the line.
fn sample_lines(folder: &Path, ours: bool) -> Vec<Vec<String>> {
    let read = |name: &String| {
        let bytes = fs::read(folder.join(name)).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let line = |line: &str| {
            if ours {
                line.split_once('\t').map(|(_, line)| line.to_owned())
            } else {
                Some(line.to_owned())
            }
        };
        text.lines().filter(|line| !line.starts_with('#')).filter_map(line).take(6).collect()
    };
    names(folder).iter().map(read).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// Every date format with its example.
fn dates() -> Vec<Vec<u8>> {
    let rows = TEMPLATES.iter().map(|row| (row.pattern, row.line));
    let tokens = TOKENS.iter().map(|token| (token.pattern, token.line));
    let whole = TEMPLATES.iter().map(|row| input(USUAL_DATE, &["", row.line, row.line]));
    let words = [
        "{DEFAULT}",
        "^LEPOCH",
        "at ({EPOCH})",
        r"^\[{DATE}\]",
        "{NONE}\n%H:%M",
        "{UNB}%Y%m%d",
        "**%Y",
    ]
    .map(|pattern| input(USUAL_DATE | 1, &[pattern, "[1795400700.5] x", "at 1795400700"]));
    let single =
        rows.chain(tokens).map(|(pattern, line)| input(USUAL_DATE, &[pattern, line, line]));
    single.chain(whole).chain(words).collect()
}

fn dated(lines: &[Vec<String>]) -> Vec<Vec<u8>> {
    let few = |file: &Vec<String>| {
        let lines = file.iter().take(4).map(String::as_str);
        input(USUAL_DATE, &std::iter::once("").chain(lines).collect::<Vec<_>>())
    };
    lines.iter().map(few).collect()
}

/// Sample lines as batches: old ones, live ones, those of a journal; and then what the world answers.
fn batches(lines: &[Vec<String>], kinds: usize) -> Vec<Vec<u8>> {
    let own = LINES.iter().map(|text| (*text).to_owned());
    let texts = lines.iter().map(|file| file.join("\n") + "\n").chain(own);
    let events: [&[&[u8]]; 4] = [
        &[b"A2", b"J0", b"T8"],
        &[b"A\x00192.0.2.1 ::1", b"A\x02", b"J1", b"J0", b"C0"],
        &[b"A7", b"S0", b"S1", b"T\x0a\x50", b"C8", b"C2"],
        &[b"J8", b"T\x0b\xb0", b"C6", b"C5"],
    ];
    let mut seeds = Vec::new();
    for (n, text) in texts.enumerate() {
        let all = ["L0", "L1", "L9", "R\x32"].into_iter().zip(events).cycle();
        for (kind, follow) in all.skip(n).take(kinds) {
            let batch = [kind.as_bytes(), text.as_bytes()].concat();
            let follow = follow.join(&SEPARATOR);
            let twice = [batch.as_slice(), &follow, &batch];
            seeds.push(twice.join(&SEPARATOR));
        }
    }
    seeds
}

fn pickles() -> Vec<Vec<u8>> {
    let request = |line: &&str| [encode(&Value::List(words(line))).as_slice(), END].concat();
    let mut seeds: Vec<Vec<u8>> = REQUESTS.iter().map(request).collect();
    seeds.push(seeds.concat());
    seeds.extend(PICKLES.iter().map(|pickle| pickle.to_vec()));
    seeds.extend(PICKLES.iter().map(|pickle| [pickle, END].concat()));
    let error =
        CommandError { class: ErrorClass::OsError, args: vec![Value::Int(2), Value::str("x")] };
    let pair = |key: &str, value: Value| Value::Tuple(vec![Value::str(key), value]);
    let tree = Value::List(vec![
        pair("Filter", Value::List(vec![pair("Currently failed", Value::Int(1))])),
        pair("Actions", Value::List(vec![pair("Banned IP list", Value::strs(["192.0.2.1"]))])),
    ]);
    let numbers =
        Value::Tuple(vec![Value::Int(-1), Value::Float(0.5), Value::Int(i64::MAX), Value::None]);
    let dict =
        Value::Dict(vec![(Value::str("j"), numbers), (Value::Bool(true), Value::Set(vec![]))]);
    seeds.extend([Ok(tree), Ok(dict), Err(error)].iter().map(encode_reply));
    seeds
}

/// Our own tree as a whole, and in parts.
fn own_trees() -> Vec<Vec<u8>> {
    let files = MapFiles::new("/etc/fail2ban", embedded::FILES.iter().copied());
    let filters = embedded::FILES.iter().filter_map(|(path, _)| path.strip_prefix("filter.d/"));
    let filters: Vec<String> = filters.map(str::to_owned).collect();
    let mut seeds = trees(&files, "/etc/fail2ban", &filters);
    seeds.extend(test_trees());
    for (options, local) in [
        (
            0x11,
            "jail.local\n[sshd]\nmode = aggressive\nbantime = 1h 30m\nlogpath = /var/log/*.log\n",
        ),
        (
            0x11,
            "jail.d/a.conf\n[DEFAULT]\nbantime.increment = true\n[sshd]\nfilter = sshd[mode=\"%(mode)s\"]\n",
        ),
        (
            0x19,
            "filter.d/sshd.local\n[Definition]\nfailregex = %(known/failregex)s\n  ^x <HOST>$\n[Init]\nmaxlines = 5\n",
        ),
        (
            0x1,
            "fail2ban.local\n[DEFAULT]\nloglevel = DEBUG\ndbpurgeage = 1d\n[Thread]\nstacksize = 64\n",
        ),
        (
            0x31,
            "action.d/nftables.local\n[Init]\nchain = a\n[Init?family=inet6]\nchain = <known/chain>6\n",
        ),
    ] {
        seeds.push(input(options, &[local]));
    }
    seeds
}

/// The trees that the configuration's own tests compare with fail2ban.
fn test_trees() -> Vec<Vec<u8>> {
    let path = root().join("crates/config/tests/data/trees.txt");
    let text = fs::read_to_string(path).expect("the trees").replace("@DIR@", "/etc/fail2ban");
    let tree = |tree: &str| {
        let (_, files) = tree.split_once('\n')?;
        let files: Vec<&str> = files.split("--- ").filter(|file| !file.is_empty()).collect();
        Some(input(0, &[&["fail2ban.conf\n[Definition]", "log"], files.as_slice()].concat()))
    };
    text.split("=== ").filter_map(tree).collect()
}

/// For each filter a tree of its own with one jail.
fn trees(files: &dyn Files, base: &str, filters: &[String]) -> Vec<Vec<u8>> {
    let read = |path: &str| {
        let bytes = files.read(&format!("{base}/{path}")).unwrap_or_default();
        format!("{path}\n{}", String::from_utf8_lossy(&bytes))
    };
    let tree = |file: &String| {
        let name = file.trim_end_matches(".conf");
        let jail = format!(
            "jail.conf\n[{name}]\nenabled = true\nfilter = %(__name__)s\nlogpath = /etc/fail2ban/jail.conf\n\
             action = nftables[name=<name>, port=\"1,2\"]\n"
        );
        input(0x12, &[&jail, &read(&format!("filter.d/{file}")), &read("filter.d/common.conf")])
    };
    filters.iter().map(tree).collect()
}

/// The expressions of a configuration, each with some lines, the date cut out.
fn patterns(files: &dyn Files, base: &str, lines: &[Vec<String>]) -> Vec<Vec<u8>> {
    let options = LoadOptions { force_enable: true, ..LoadOptions::default() };
    let Ok(loaded) = load(files, base, &options) else { return Vec::new() };
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for command in &loaded.stream {
        let Ok(Command::Set { change, .. }) = Command::parse(command) else { continue };
        let texts = match change {
            Change::PrefRegex(regex) => vec![regex],
            Change::AddFailRegex(regexes) | Change::AddIgnoreRegex(regexes) => regexes,
            _ => continue,
        };
        let file = lines.get(seeds.len() % lines.len().max(1)).map_or(&[][..], Vec::as_slice);
        let cut = |line: &String| line.split_once(' ').map_or("", |(_, rest)| rest).to_owned();
        let cut: Vec<String> = file.iter().take(3).map(cut).collect();
        for text in texts {
            let parts: Vec<&str> =
                std::iter::once(text.as_str()).chain(cut.iter().map(String::as_str)).collect();
            let seed = input(0, &parts);
            if !seeds.contains(&seed) {
                seeds.push(seed);
            }
        }
    }
    seeds
}
