//! Whether a judge agrees with what we say about a folder.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, dead_code)]

use std::fmt::Write as _;
use std::path::Path;

use sekisho_config::dump::dump;
use sekisho_config::load::Loaded;

use super::{Judge, without_quirk, write};

/// Jails that we call broken are what fail2ban refuses, and all of it: with these switched off it
/// accepts the rest, and its stream is ours.
pub fn without_broken(judge: &mut Judge, dir: &Path, loaded: &Loaded) -> Result<(), String> {
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
    Err(format!(
        "without the broken jails fail2ban has something else\n--- ours\n{}\n--- fail2ban\n{}\n{}",
        ours.join("\n"),
        theirs.join("\n"),
        answer.errors()
    ))
}
