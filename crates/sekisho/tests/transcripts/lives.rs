//! The lives that jails and their actions go through, step by step.

use sekisho_oracle::Random;
use serde_json::{Value, json};

use crate::jails::Jail;

/// When a life begins; far from today, so that nothing is kept or dropped for its age.
pub const BEGIN: i64 = 4_000_000_000;

/// What happens in a step.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// The jail is added and started.
    Start,
    /// An id has failed often enough.
    Fail(Failed),
    /// `set JAIL …`
    Set(Vec<String>),
    /// `unban --all`
    UnbanAll,
    /// So many seconds pass.
    Pass(i64),
    /// `reload --all` with the same configuration.
    Reload,
    /// `stop JAIL`
    Stop,
}

/// A failure that leads to a ban.
#[derive(Clone, Debug, PartialEq)]
pub struct Failed {
    pub id: String,
    pub address: Option<String>,
    /// One failure for each.
    pub lines: Vec<String>,
    pub fields: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub what: What,
    /// Which calls of programs fail and which hang, counted from 1: `fails hangs`.
    pub trouble: Option<String>,
}

/// A jail, what it goes through, and how programs answer.
#[derive(Clone, Debug)]
pub struct Life {
    pub name: String,
    pub jail: Jail,
    pub steps: Vec<Step>,
    /// One of two sets of answers that the stand-ins give.
    pub answers: char,
    pub ipv6: bool,
}

impl Step {
    fn json(&self) -> Value {
        let mut step = match &self.what {
            What::Start => json!({"do": "start"}),
            What::Fail(f) => {
                let mut step =
                    json!({"do": "fail", "id": f.id, "lines": f.lines, "fields": f.fields});
                if let Some(address) = &f.address {
                    step["address"] = json!(address);
                }
                step
            }
            What::Set(words) => json!({"do": "set", "words": words}),
            What::UnbanAll => json!({"do": "unban all"}),
            What::Pass(seconds) => json!({"do": "pass", "seconds": seconds}),
            What::Reload => json!({"do": "reload"}),
            What::Stop => json!({"do": "stop"}),
        };
        if let Some(trouble) = &self.trouble {
            step["trouble"] = json!(trouble);
        }
        step
    }
}

impl Life {
    /// As the other side reads it.
    pub fn json(&self) -> Value {
        let steps: Vec<Value> = self.steps.iter().map(Step::json).collect();
        let given: Vec<&str> = self.jail.parameters().iter().map(|(key, _)| *key).collect();
        json!({
            "jail": self.jail.name, "steps": steps, "answers": self.answers, "ipv6": self.ipv6,
            "now": BEGIN, "given": given,
        })
    }
}

/// The ids of a life. Those of one family fail in turn.
struct Ids {
    four: [&'static str; 3],
    six: [&'static str; 2],
}

impl Ids {
    fn of(jail: &Jail) -> Ids {
        if jail.action == "sendmail-geoip-lines" {
            // It asks for the names of addresses: take those that no name server is asked for.
            Ids {
                four: ["127.0.0.1", "198.51.100.0/24", "203.0.113.0/24"],
                six: ["2001:db8:1::/64", "2001:db8:2::/64"],
            }
        } else {
            Ids {
                four: ["192.0.2.1", "192.0.2.2", "192.0.2.3"],
                six: ["2001:db8::1", "2001:db8::2"],
            }
        }
    }
}

fn plain(what: What) -> Step {
    Step { what, trouble: None }
}

fn fail(id: &str) -> What {
    What::Fail(Failed {
        id: id.to_owned(),
        address: None,
        lines: (1..=5).map(|n| format!("Oct  1 07:06:4{n} host d[1]: from {id}")).collect(),
        fields: vec![("user".to_owned(), "root".to_owned())],
    })
}

/// A failure whose lines and captured groups try to become part of a command.
fn hostile(id: &str, address: Option<&str>) -> What {
    let lines = [
        "it's `touch %D` $(touch y) \"x\" | z; <ip> <F-USER> ${IFS} \\n \\0 %s 100%",
        "second\tline \u{fc}\u{4e2d} <matches> & ! # ~ [a-z]* {1,2} ^ ?",
        "-e --flag=$HOME",
        "",
        "last",
    ];
    let fields = [
        ("user", "a' b;c`id`$(id)\"\nnext <F-MLFID>"),
        ("mlfid", "$0 $1 ${f2bV_matches}"),
        ("alt_user1", "'"),
        ("fport", "22"),
    ];
    What::Fail(Failed {
        id: id.to_owned(),
        address: address.map(str::to_owned),
        lines: lines.map(str::to_owned).to_vec(),
        fields: fields.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec(),
    })
}

fn set(words: &[&str]) -> What {
    What::Set(words.iter().map(|w| (*w).to_owned()).collect())
}

/// Everything once, and nothing fails.
pub fn whole(jail: &Jail) -> Vec<Step> {
    let Ids { four: [a, b, c], six: [x, y] } = Ids::of(jail);
    let steps = vec![
        What::Start,
        hostile(a, None),
        fail(b),
        hostile(x, None),
        set(&["banip", "198.51.100.128/25"]),
        set(&["banip", "2001:db8:7::/48"]),
        set(&["banip", "some user"]),
        hostile("o'neil;$(id)\"", Some(c)),
        fail(y),
        What::Pass(10),
        // Banned already: time for a check.
        fail(a),
        set(&["unbanip", a]),
        set(&["unbanip", a]),
        fail(a),
        set(&["unbanip", "some user"]),
        What::Reload,
        fail(c),
        What::Pass(1000),
        fail(a),
        hostile(x, None),
        What::UnbanAll,
        What::UnbanAll,
        fail(b),
        fail(x),
        What::UnbanAll,
        fail(b),
        hostile(y, None),
        set(&["banip", "other user"]),
        What::Stop,
        What::Start,
        fail(c),
        What::Pass(590),
        fail(c),
        What::Stop,
        What::Start,
        What::Stop,
    ];
    steps.into_iter().map(plain).collect()
}

/// Steps that can go wrong, each with what comes before it.
pub const TROUBLES: &[&str] =
    &["start", "first", "second", "other family", "text", "again", "unban", "unban all", "stop"];

/// A life in which programs fail in one step.
pub fn troubled(jail: &Jail, at: &str, trouble: String) -> Vec<Step> {
    let Ids { four: [a, b, c], six: [x, y] } = Ids::of(jail);
    let mut steps = vec![What::Start];
    let before: Vec<What> = match at {
        "start" | "first" => vec![],
        "second" | "other family" | "text" => vec![fail(a)],
        "again" => vec![fail(a), fail(x), What::Pass(10)],
        _ => vec![fail(a), fail(b), fail(x)],
    };
    steps.extend(before);
    let bad = steps.len();
    match at {
        "start" => {}
        "first" | "again" => steps.push(fail(a)),
        "second" => steps.push(fail(b)),
        "other family" => steps.push(fail(x)),
        "unban" => steps.push(set(&["unbanip", a])),
        "unban all" => steps.push(What::UnbanAll),
        "text" => steps.push(set(&["banip", "some user"])),
        "stop" => steps.push(What::Stop),
        other => panic!("{other}"),
    }
    let bad = if at == "start" { 0 } else { bad };
    if at != "stop" {
        steps.extend([fail(c), fail(y), set(&["unbanip", c]), What::Stop]);
    }
    let mut steps: Vec<Step> = steps.into_iter().map(plain).collect();
    steps[bad].trouble = Some(trouble);
    steps
}

/// Which calls fail.
pub fn some_trouble(random: &mut Random) -> String {
    let fixed = ["1", "1,2", "1,2,3", "1,2,3,4", "2", "2,3", "1,3", "all"];
    if random.one_in(3) {
        let calls: Vec<String> =
            (1..12).filter(|_| random.one_in(3)).map(|n: u32| n.to_string()).collect();
        return format!("0{}{}", if calls.is_empty() { "" } else { "," }, calls.join(","));
    }
    (*random.pick(&fixed)).to_owned()
}
