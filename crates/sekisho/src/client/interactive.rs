//! `-i`: one command a line.

use std::io::{self, BufRead, Write};

use sekisho_core::effect::Level;

use super::{Client, print, say, usage};

/// Longest line read.
const MAX_LINE: u64 = 1 << 20;

/// Runs `command`, if there is one, then reads commands until `exit` or `quit`. The end of the
/// input before that counts as a failure, as in fail2ban.
pub fn run(client: &Client, command: &[&str]) -> bool {
    if !command.is_empty() && !client.process(command) {
        return false;
    }
    print(&format!("{}\n", crate::cli::purpose(client.program.name())));
    let mut input = io::stdin().lock();
    loop {
        let mut out = io::stdout().lock();
        let _ = write!(out, "fail2ban> ").and_then(|()| out.flush());
        drop(out);
        let mut line = String::new();
        match io::Read::take(&mut input, MAX_LINE).read_line(&mut line) {
            Ok(0) => {
                print("");
                say(Level::Error, "EOF when reading a line");
                return false;
            }
            Ok(_) => {}
            Err(error) => {
                say(Level::Error, &format!("Cannot read standard input: {error}"));
                return false;
            }
        }
        let Some(words) = sekisho_config::shlex::split(&line) else {
            say(Level::Error, "No closing quotation");
            continue;
        };
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            [] => {}
            ["exit" | "quit"] => return true,
            ["help"] => print(&usage(client.program)),
            words => {
                client.process(words);
            }
        }
    }
}
