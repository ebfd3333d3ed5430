//! What a filter is made of, as the commands say it, and why that may be refused.

use crate::date::{DateDetector, DateError, DateFormat, Years};
use crate::regex::tags::{FilterRegexError, HostTag};
use crate::time::{Timestamp, Zone};

use super::pattern::Pattern;

/// What to do with a host name where an address is expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UseDns {
    /// Resolve it.
    Yes,
    /// Resolve it, and warn that this was done.
    #[default]
    Warn,
    /// Do not accept names.
    No,
    /// The name itself is the id.
    Raw,
}

impl UseDns {
    /// Reads `yes`, `warn`, `no`, `raw` in any case; `None` otherwise.
    pub fn parse(text: &str) -> Option<UseDns> {
        match text.to_ascii_lowercase().as_str() {
            "yes" => Some(UseDns::Yes),
            "warn" => Some(UseDns::Warn),
            "no" => Some(UseDns::No),
            "raw" => Some(UseDns::Raw),
            _ => None,
        }
    }
    /// What `<HOST>` may find.
    pub const fn host_tag(self) -> HostTag {
        match self {
            UseDns::No => HostTag::Address,
            UseDns::Yes | UseDns::Warn | UseDns::Raw => HostTag::AddressOrName,
        }
    }
    /// The word of the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            UseDns::Yes => "yes",
            UseDns::Warn => "warn",
            UseDns::No => "no",
            UseDns::Raw => "raw",
        }
    }
}

/// What a filter is made of: everything as the configuration wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterSpec {
    /// Matched first; cuts out what the others see.
    pub prefregex: Option<String>,
    /// Any match is a failure.
    pub failregex: Vec<String>,
    /// A match is dropped.
    pub ignoreregex: Vec<String>,
    /// How many lines a pattern may span.
    pub maxlines: usize,
    /// Date formats, one per line; `None` for the default ones.
    pub datepattern: Option<String>,
    /// What to do with host names.
    pub usedns: UseDns,
    /// The zone of dates that name none; `None` for the local one.
    pub logtimezone: Option<String>,
    /// Which years dates may have; a server meets the present ones only.
    pub years: Years,
}

impl Default for FilterSpec {
    fn default() -> Self {
        Self {
            prefregex: None,
            failregex: Vec::new(),
            ignoreregex: Vec::new(),
            maxlines: 1,
            datepattern: None,
            usedns: UseDns::default(),
            logtimezone: None,
            years: Years::Server,
        }
    }
}

/// The patterns of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RegexKind {
    /// `prefregex`
    Prefix,
    /// `failregex`
    Fail,
    /// `ignoreregex`
    Ignore,
}

/// Why a specification makes no filter. The text is fail2ban's, because clients print it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// A pattern cannot be used.
    #[error("{error}")]
    Pattern {
        /// Which of the three.
        kind: RegexKind,
        /// Its place in the list.
        index: usize,
        /// Why.
        error: FilterRegexError,
    },
    /// A date pattern or a time zone cannot be used.
    #[error(transparent)]
    Date(#[from] DateError),
}

impl FilterError {
    /// What in the configuration to look at, e.g. `failregex 3`.
    pub fn subject(&self) -> String {
        match self {
            FilterError::Pattern { kind: RegexKind::Prefix, .. } => "prefregex".into(),
            FilterError::Pattern { kind: RegexKind::Fail, index, .. } => {
                format!("failregex {}", index.saturating_add(1))
            }
            FilterError::Pattern { kind: RegexKind::Ignore, index, .. } => {
                format!("ignoreregex {}", index.saturating_add(1))
            }
            FilterError::Date(DateError::LogZone(_)) => "logtimezone".into(),
            FilterError::Date(_) => "datepattern".into(),
        }
    }
}

type Patterns = (Option<Pattern>, Vec<Pattern>, Vec<Pattern>);

impl FilterSpec {
    /// Whether the patterns would compile to the same.
    pub(super) fn same_patterns(&self, other: &FilterSpec) -> bool {
        self.prefregex == other.prefregex
            && self.failregex == other.failregex
            && self.ignoreregex == other.ignoreregex
            && self.usedns.host_tag() == other.usedns.host_tag()
            && (self.maxlines > 1) == (other.maxlines > 1)
    }

    pub(super) fn compile_patterns(&self) -> Result<Patterns, FilterError> {
        let host = self.usedns.host_tag();
        let at = |kind, index| move |error| FilterError::Pattern { kind, index, error };
        let prefix = match self.prefregex.as_deref() {
            None | Some("") => None,
            Some(raw) => Some(Pattern::new(raw, host, false).map_err(at(RegexKind::Prefix, 0))?),
        };
        let prefix_identifies = prefix.as_ref().is_some_and(Pattern::identifies);
        let mut fail = Vec::with_capacity(self.failregex.len());
        for (index, raw) in self.failregex.iter().enumerate() {
            let pattern =
                Pattern::new(raw, host, self.maxlines > 1).map_err(at(RegexKind::Fail, index))?;
            if !prefix_identifies && !pattern.identifies() {
                let error = FilterRegexError::NoFailureId { text: pattern.expanded().to_owned() };
                return Err(at(RegexKind::Fail, index)(error));
            }
            fail.push(pattern);
        }
        let mut ignore = Vec::with_capacity(self.ignoreregex.len());
        for (index, raw) in self.ignoreregex.iter().enumerate() {
            let pattern = Pattern::new(raw, host, false).map_err(at(RegexKind::Ignore, index))?;
            ignore.push(pattern);
        }
        Ok((prefix, fail, ignore))
    }

    /// Whether dates would be read in the same way.
    pub(super) fn same_dates(&self, other: &FilterSpec) -> bool {
        self.datepattern == other.datepattern
            && self.logtimezone == other.logtimezone
            && self.years == other.years
    }

    pub(super) fn detector(
        &self,
        local: &Zone,
        now: Timestamp,
    ) -> Result<DateDetector, FilterError> {
        let format = DateFormat {
            pattern: self.datepattern.clone().unwrap_or_default(),
            zone: self.logtimezone.clone().unwrap_or_default(),
        };
        Ok(format.detector(self.years, local, now)?)
    }
}
