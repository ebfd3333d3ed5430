//! Whether a judge agrees with what we say about a folder, apart from what docs/COMPAT.md lists.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, dead_code)]

use std::fmt::Write as _;
use std::path::Path;

use sekisho_config::definition::{ACTION_OPTIONS, FILTER_OPTIONS};
use sekisho_config::dump::dump;
use sekisho_config::load::Loaded;

use super::{Answer, Judge, dump_mode, without_quirk, write};

/// What both say about a folder, for a `-d` that was answered; an error is an unexplained
/// difference.
pub fn verdict(judge: &mut Judge, dir: &Path, answer: &Answer) -> Result<String, String> {
    // Where fail2ban runs out of memory or time, it is stopped.
    let stopped = answer.code < 0 || answer.err.contains("MemoryError");
    let fatal = stopped || answer.out.contains("ERROR: The configuration stream failed");
    let loaded = match dump_mode(dir, judge.version()) {
        Ok(loaded) => loaded,
        Err(_) if fatal => return Ok("both refuse".to_owned()),
        Err(error) => return Err(format!("we refuse it: {error}\n{}", answer.out)),
    };
    if !fatal {
        return streams(&loaded, answer);
    }
    if loaded.broken.is_empty() {
        return match known(answer) {
            Some(label) => Ok(label.to_owned()),
            None => Err(format!("fail2ban refuses it: {}", answer.errors())),
        };
    }
    match without_broken(judge, dir, &loaded) {
        Ok(()) => Ok("broken jail".to_owned()),
        // A fault that no jail can be blamed for is fatal for all of fail2ban.
        Err((_, answer)) if known(&answer).is_some() => Ok("broken file".to_owned()),
        Err((text, _)) => Err(text),
    }
}

/// Both accept, but for jails: each line is the same, but for jails that we call broken where
/// fail2ban's start stumbles later.
fn streams(loaded: &Loaded, answer: &Answer) -> Result<String, String> {
    let mut kind = "same";
    let mut theirs = without_quirk(&answer.out);
    let ours = dump(&loaded.stream);
    let mut own: Vec<&str> = ours.lines().collect();
    for broken in &loaded.broken {
        let head = format!("['config-error', \"Jail '{}' skipped", broken.name);
        let other_head = format!("['config-error', 'Jail \\'{}\\' skipped", broken.name);
        let of_jail = |line: &str| line.starts_with(&head) || line.starts_with(&other_head);
        let other = theirs.iter().position(|line| of_jail(line));
        let late = ["is no whole number", " already exists; give", ".py'"];
        if other.is_none() && !late.iter().any(|text| broken.reason.contains(text)) {
            return Err(format!("only we call {} broken: {}", broken.name, broken.reason));
        }
        // The reasons are compared where both have one.
        let reason =
            broken.reason.split("; the character").next().unwrap_or("").replace('\'', "\\'");
        let same = |line: &String| {
            let line = line.replace('\'', "\\'").replace("\\\\", "\\").replace("\\t", "\t");
            line.contains(&reason)
                || broken.reason.contains("Unable to read")
                // Of two faults, fail2ban may find the other one first.
                || broken.reason.contains("self referencing")
                || late.iter().any(|text| broken.reason.contains(text))
                || reason.contains("missing log files")
        };
        if let Some(line) = other.and_then(|at| theirs.get(at))
            && !same(line)
        {
            return Err(format!("other reasons:\n{}\n{line}", broken.reason));
        }
        own.retain(|line| !of_jail(line));
        let of_jail = |line: &String| {
            of_jail(line)
                || ["add", "set", "multi-set", "start"]
                    .iter()
                    .any(|verb| line.starts_with(&format!("['{verb}', '{}'", broken.name)))
        };
        theirs.retain(|line| !of_jail(line));
        kind = "broken jail";
    }
    if own != theirs {
        let first = own.iter().zip(&theirs).find(|(own, theirs)| own != theirs);
        return Err(match first {
            Some((own, theirs)) => format!("ours   {own}\ntheirs {theirs}"),
            None => format!("ours\n{}\ntheirs\n{}", own.join("\n"), theirs.join("\n")),
        });
    }
    Ok(kind.to_owned())
}

/// The row of docs/COMPAT.md for something that only fail2ban refuses.
fn known(answer: &Answer) -> Option<&'static str> {
    let errors = answer.errors();
    if errors.contains("already exists") {
        return Some("section twice");
    }
    if errors.contains("maximum recursion depth") {
        // Files that include each other under different names.
        return Some("include loop");
    }
    // A loop that there is only as long as [Init] does not count.
    if FILTER_OPTIONS.iter().any(|option| errors.contains(&format!("fail tag: {option},"))) {
        return Some("init as variable");
    }
    // An option of a filter or action that means nothing to the server, or part of a jail that is off.
    let read = FILTER_OPTIONS.iter().chain(ACTION_OPTIONS);
    let named = |option: &str| {
        errors.contains(&format!("option '{option}' in section"))
            || errors.contains(&format!("fail tag: {option},"))
    };
    let other_option = errors.contains("section 'Definition' contains an interpolation key")
        || errors.contains("fail tag: ");
    let other = other_option && !read.into_iter().any(|option| named(option));
    (other || errors.contains("parsing errors")).then_some("unread")
}

/// Jails that we call broken are what fail2ban refuses, and all of it: with these switched off it
/// accepts the rest, and its stream is ours.
pub fn without_broken(
    judge: &mut Judge,
    dir: &Path,
    loaded: &Loaded,
) -> Result<(), (String, Answer)> {
    let mut off = String::new();
    for jail in &loaded.broken {
        // fail2ban reads filter and backend of jails that are off, too.
        let name = &jail.name;
        writeln!(off, "[{name}]\nenabled = false\nfilter =\nbackend = auto").unwrap();
    }
    write(dir, "jail.d/zzzz.local", off.as_bytes());
    let answer = judge.client(dir, &["-d"]);
    std::fs::remove_file(dir.join("jail.d/zzzz.local")).unwrap();
    let theirs = without_quirk(&answer.out);
    let ours = dump(&loaded.stream);
    let ours: Vec<&str> = ours.lines().filter(|l| !l.starts_with("['config-error', ")).collect();
    if answer.code == 0 && ours == theirs {
        return Ok(());
    }
    let broken: Vec<&str> = loaded.broken.iter().map(|jail| jail.reason.as_str()).collect();
    let text = format!(
        "without the broken jails fail2ban has something else\n{broken:?}\n--- ours\n{}\n--- fail2ban\n{}\n{}",
        ours.join("\n"),
        theirs.join("\n"),
        answer.errors()
    );
    Err((text, answer))
}
