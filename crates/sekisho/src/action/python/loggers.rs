//! Names of loggers, which actions choose: our log knows names that live for ever.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Different names kept; an action that makes up more of them logs under a common one.
const NAMES_MAX: usize = 200;
/// Longest name.
const LENGTH_MAX: usize = 60;
const COMMON: &str = "fail2ban.action";

/// The name for a log record.
pub fn name(wanted: &str) -> &'static str {
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(wanted) {
        return known;
    }
    let good = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
    if names.len() >= NAMES_MAX || wanted.len() > LENGTH_MAX || !wanted.chars().all(good) {
        return COMMON;
    }
    let kept: &'static str = Box::leak(wanted.to_owned().into_boxed_str());
    names.insert(kept);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_few_and_plain() {
        assert_eq!(name("fail2ban.SMTPAction"), "fail2ban.SMTPAction");
        assert_eq!(name("fail2ban.x\n2026 fake"), COMMON);
        assert_eq!(name(&"x".repeat(100)), COMMON);
        for i in 0..=NAMES_MAX {
            name(&format!("fail2ban.n{i}"));
        }
        assert_eq!(name("fail2ban.one-too-many"), COMMON);
        assert_eq!(name("fail2ban.SMTPAction"), "fail2ban.SMTPAction");
    }
}
