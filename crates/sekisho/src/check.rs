//! Would a server take this? Commands of a configuration, tried on an engine that does nothing.
//!
//! `-t`, `start` and `sekisho run` ask here while the configuration is loaded, so that what a test
//! passes is what a start accepts: regexes, date patterns, times and names are judged by the very
//! code that will run them. Nothing is started, written or looked up, and no code of a user is run:
//! the files of Python actions are only compiled, by the python3 that would run them.

use std::cell::RefCell;

use sekisho_core::command::{Origin, Words};
use sekisho_core::effect::{Effect, Event, RequestId};
use sekisho_core::engine::{Config, Engine};
use sekisho_core::value::Value;

use crate::source::encoding::Encoding;
use crate::{action, clock};

/// An engine whose effects go nowhere.
pub struct DryRun(RefCell<Engine>);

impl DryRun {
    /// One that knows no jail yet.
    pub fn new() -> DryRun {
        let known_encoding = |name: &str| Encoding::from_python_name(name).is_some();
        let config = Config { zone: clock::zone(), known_encoding, ..Config::default() };
        DryRun(RefCell::new(Engine::new(config)))
    }

    /// Tries one command of a jail; commands of a jail must come in their order. The error is what
    /// the server would answer.
    pub fn command(&self, words: &Words) -> Result<(), String> {
        let mut effects = Vec::new();
        let event = Event::Control { request: RequestId(0), words: words.clone() };
        self.0.borrow_mut().handle(clock::now(), event, &mut effects);
        let refused = effects.into_iter().find_map(|effect| match effect {
            Effect::Reply { result: Err(error), .. } => Some(error.to_string()),
            _ => None,
        });
        refused.map_or(Ok(()), Err)
    }
}

/// A Python action that will not work. Its jail guards all the same, with its other actions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PythonFault {
    /// What is wrong, with the names of jail and action.
    pub text: String,
    /// The line of the configuration that asks for it.
    pub origin: Option<Origin>,
}

/// The Python actions of a stream that will not work: without python3 none does.
pub fn python_faults(stream: &[Words]) -> Vec<PythonFault> {
    let mut uses = Vec::new();
    for words in stream {
        let text = |at: usize| words.words.get(at).and_then(Value::as_str);
        if let (Some("addaction"), Some(jail), Some(action), Some(file)) =
            (text(2), text(1), text(3), text(4))
        {
            uses.push((jail, action, file, &words.origin));
        }
    }
    let mut files: Vec<String> = uses.iter().map(|(_, _, file, _)| (*file).to_owned()).collect();
    files.sort_unstable();
    files.dedup();
    if files.is_empty() {
        return Vec::new();
    }
    let found = action::python_faults(&files);
    let fault = |file: &str| match &found {
        Ok(faults) => {
            let at = files.iter().position(|known| known == file)?;
            faults.get(at)?.clone()
        }
        Err(why) => Some(format!("{why}. The action is written in Python ({file})")),
    };
    let broken = uses.into_iter().filter_map(|(jail, action, file, origin)| {
        let text = format!("Jail '{jail}' action '{action}' will not work: {}", fault(file)?);
        Some(PythonFault { text, origin: origin.clone() })
    });
    broken.collect()
}

impl Default for DryRun {
    fn default() -> Self {
        DryRun::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sekisho_core::value::Value;

    #[test]
    fn what_a_server_refuses_is_found() {
        let dry = DryRun::new();
        let say = |line: &str| {
            let words = line.split(' ').map(Value::str).collect();
            dry.command(&Words { words, origin: None })
        };
        assert_eq!(say("add j auto"), Ok(()));
        assert_eq!(say("set j addfailregex ^bad<HOST>"), Ok(()));
        assert!(say("set j addfailregex ^bad(<HOST>").is_err());
        assert!(say("set j addfailregex ^nobody").unwrap_err().contains("No failure-id group"));
        assert!(say("set j bantime soon").is_err());
        assert!(say("set nobody bantime 1").is_err());
    }
}
