//! Things an administrator should hear about that do not stop anything.

use sekisho_core::command::Origin;
use sekisho_core::effect::Level;

/// A message about the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// How grave.
    pub level: Level,
    /// The text.
    pub text: String,
    /// Where in the configuration, if there is one place.
    pub origin: Option<Origin>,
}

impl Notice {
    /// A warning without a place.
    pub fn warning(text: impl Into<String>) -> Self {
        Notice { level: Level::Warning, text: text.into(), origin: None }
    }
    /// File, line and text.
    pub fn located(&self) -> String {
        match &self.origin {
            Some(origin) => format!("{origin}: {}", self.text),
            None => self.text.clone(),
        }
    }
}
