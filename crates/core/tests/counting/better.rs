//! Where we differ on purpose: what `reference.py` undoes, shown on our side alone.

use serde_json::Value;

use super::ours;
use super::sequence::{Act, Found, Instant, PARTS, Sequence, Step};

const BEGIN: Instant = 1_700_000_000 * PARTS;

/// A history of one jail, `j`: its options, then what happens at which second.
struct Story(Vec<Step>);

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

impl Story {
    fn new(options: &[&str]) -> Story {
        let mut commands = vec![words("add j polling"), words("set j ignoreself false")];
        commands.extend(options.iter().map(|option| words(&format!("set j {option}"))));
        Story(vec![Step { at: BEGIN, act: Act::Start { jails: vec!["j".into()], commands } }])
    }

    fn then(mut self, second: i64, act: Act) -> Story {
        self.0.push(Step { at: BEGIN + second * PARTS, act });
        self
    }

    fn command(self, second: i64, text: &str) -> Story {
        self.then(second, Act::Command(words(text)))
    }

    fn failure(self, second: i64, id: &str, lines: &[&str]) -> Story {
        let found = Found {
            id: id.into(),
            at: BEGIN + second * PARTS,
            lines: lines.iter().map(|line| vec![(*line).to_owned()]).collect(),
            user: None,
        };
        self.then(second, Act::Failures { jail: "j".into(), failures: vec![found] })
    }

    /// What actions were told, over all steps.
    fn told(self) -> Vec<String> {
        let seen = ours::play(&Sequence { stored: true, purge_age: 86_400, steps: self.0 });
        let did = |step: &Value| step["did"].as_array().unwrap().clone();
        let text = |value: Value| value.as_str().unwrap().to_owned();
        seen.iter().flat_map(did).map(text).collect()
    }
}

fn check(story: Story, expected: &[&str]) {
    let told = story.told();
    let begins = |(told, expected): (&String, &&str)| told.contains(expected);
    let equal = told.len() == expected.len() && told.iter().zip(expected).all(begins);
    assert!(equal, "{told:#?}\nexpected {expected:#?}");
}

const ID: &str = "192.0.2.1";

#[test]
fn a_known_id_counts_each_failure_once() {
    let story = Story::new(&["maxretry 4", "bantime 60", "bantime.increment true"])
        .command(0, "set j banip 192.0.2.1")
        .then(100, Act::Tick)
        .failure(200, ID, &["a"])
        .failure(201, ID, &["b"]);
    // Two failures that count as four.
    check(story, &["ban", "unban", "failures=2 restored=0 user=None lines=a|b", "prolong"]);
}

#[test]
fn lines_are_limited_from_the_first_failure_on() {
    let story = Story::new(&["maxretry 1", "maxmatches 1"]).failure(0, ID, &["a", "b"]);
    check(story, &["lines=b"]);
    let story = Story::new(&["maxretry 3", "maxmatches 0"])
        .failure(0, ID, &["a"])
        .failure(1, ID, &["b"])
        .command(2, "set j maxmatches 5")
        // The third failure bans, though no lines were kept of the first two.
        .failure(3, ID, &["c"]);
    check(story, &["failures=3 restored=0 user=None lines=c"]);
}

#[test]
fn nobody_is_banned_for_the_failure_of_another() {
    let story = Story::new(&["maxretry 4", "bantime 60", "bantime.increment true"])
        .command(0, "set j banip 192.0.2.1")
        .then(100, Act::Tick)
        .failure(200, "192.0.2.2", &[])
        .failure(200, "192.0.2.2", &[])
        .command(201, "set j maxretry 2")
        .failure(202, ID, &[]);
    check(story, &["ban 192.0.2.1", "unban 192.0.2.1", "ban 192.0.2.1", "prolong 192.0.2.1"]);
}

#[test]
fn a_shorter_ban_time_counts_at_once() {
    let story = Story::new(&["bantime 3600"])
        .command(0, "set j banip 192.0.2.1")
        .command(10, "set j bantime 60")
        .then(61, Act::Tick);
    check(story, &["ban", "unban"]);
}

#[test]
fn a_ban_begins_before_its_history_is_known() {
    let story = Story::new(&["maxretry 1", "bantime 60", "bantime.increment true"])
        .command(0, "set j banip 192.0.2.1")
        .then(100, Act::Tick)
        .command(200, "set j attempt 192.0.2.1");
    check(
        story,
        &[
            "ban",
            "unban",
            "bantime=60 bancount=1 ",
            "prolong 192.0.2.1 at=1700000200000000 bantime=120 bancount=2",
        ],
    );
}

#[test]
fn any_negative_time_is_for_ever() {
    let story =
        Story::new(&["bantime -2"]).command(0, "set j banip 192.0.2.1").then(1_000_000, Act::Tick);
    check(story, &["bantime=-1"]);
}
