//! Which templates a jail looks for: the `datepattern` option, read once and shared.

use super::detector::DateDetector;
use super::digits;
use super::error::DateError;
use super::template::{self, Template};
use super::zone::{LineZone, LogZone};
use crate::time::{Timestamp, Zone};
use crate::value::repr_str;

/// Which years a date without a fixed century pattern (`%ExY`) may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Years {
    /// From 2000 to a few years from now: what a server can meet in a live log.
    #[default]
    Server,
    /// From 1900: `fail2ban-regex` is also run over old logs.
    Since1900,
}

/// What the meaning of a pattern depends on.
#[derive(Clone, Copy, Debug)]
pub struct DateOptions {
    /// The present, for the century of `%ExY`.
    pub now: Timestamp,
    /// How far back years may reach.
    pub years: Years,
}

/// The templates of a jail in their first order.
#[derive(Clone, Debug)]
pub struct DateSpec {
    templates: Vec<Template>,
    default: bool,
    told: Vec<String>,
}

/// More patterns than this in one option are a mistake.
const MAX_TEMPLATES: usize = 1000;

/// How the dates of a log are read, as the configuration says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DateFormat {
    /// `datepattern`; empty for the default ones.
    pub pattern: String,
    /// `logtimezone`; empty for local time.
    pub zone: String,
}

impl DateFormat {
    /// A detector for it that has seen no line.
    pub fn detector(
        &self,
        years: Years,
        local: &Zone,
        now: Timestamp,
    ) -> Result<DateDetector, DateError> {
        let spec = DateSpec::parse(&self.pattern, &DateOptions { now, years })?;
        let log = match self.zone.as_str() {
            "" => None,
            text => Some(LogZone::parse(text)?),
        };
        Ok(DateDetector::new(spec, LineZone { local: local.clone(), log }))
    }
}

impl DateSpec {
    /// The built-in templates.
    pub fn defaults(options: &DateOptions) -> Result<DateSpec, DateError> {
        DateSpec::parse("", options)
    }

    /// Reads a `datepattern`: one pattern per line. Without any, the built-in templates.
    pub fn parse(text: &str, options: &DateOptions) -> Result<DateSpec, DateError> {
        let years = plausible_years(options);
        let mut templates: Vec<Template> = Vec::new();
        let mut told = Vec::new();
        let lines = text.split('\n').map(|line| line.trim_matches(digits::is_space));
        for line in lines.filter(|line| !line.is_empty()) {
            let key = if line.contains('%') { line.to_owned() } else { line.to_uppercase() };
            let had_some = !templates.is_empty();
            let (new, skip_known) = match key.as_str() {
                // Beside other patterns fail2ban adds nothing here, against its manual.
                "{DEFAULT}" => (all_defaults(&years)?, had_some),
                "{^LN-BEG}" => {
                    let mut all = all_defaults(&years)?;
                    all.retain(Template::is_line_begin);
                    (all, had_some)
                }
                key if key.contains("{DATE}") => {
                    (template::with_date_inside(line, &years)?, had_some)
                }
                _ => (vec![Template::parse(line, &years)?], false),
            };
            told.push(told_of(&key, line, &new));
            for template in new {
                if templates.iter().any(|known| known.name() == template.name()) {
                    if skip_known {
                        continue;
                    }
                    return Err(DateError::Duplicate { name: template.name().to_owned() });
                }
                templates.push(template);
            }
            if templates.len() > MAX_TEMPLATES {
                return Err(DateError::Pattern {
                    pattern: line.to_owned(),
                    reason: format!("more than {MAX_TEMPLATES} patterns; split the jail"),
                });
            }
        }
        if templates.len() > 1 {
            // A pattern written out that is the same as a built-in one counts as much as that.
            let known = all_defaults(&years)?;
            for template in &mut templates {
                template.adopt_weight(&known);
            }
        }
        let default = templates.is_empty();
        if default {
            templates = all_defaults(&years)?;
        }
        Ok(DateSpec { templates, default, told })
    }

    /// The templates in their first order.
    pub fn templates(&self) -> &[Template] {
        &self.templates
    }

    /// What the log says of each pattern; nothing of the built-in templates alone.
    pub fn told(&self) -> &[String] {
        &self.told
    }

    /// Whether no pattern was configured.
    pub fn is_default(&self) -> bool {
        self.default
    }

    /// What `get JAIL datepattern` answers: the pattern, where there is one, and the name. Several
    /// templates are all called `Default Detectors`.
    pub fn shown(&self) -> (Option<&str>, &str) {
        match self.templates.first() {
            Some(first) if !self.default && self.templates.len() <= 2 => {
                (first.pattern(), first.name())
            }
            _ => (None, "Default Detectors"),
        }
    }
}

/// What the log says of one pattern.
fn told_of(key: &str, line: &str, templates: &[Template]) -> String {
    let count = templates.len();
    match (key, templates) {
        ("{DEFAULT}", _) => format!("default date pattern: {count} template(s)"),
        ("{^LN-BEG}", _) => format!("default filtered date pattern: {count} template(s)"),
        (_, [one]) if !key.contains("{DATE}") => {
            format!("date pattern `{}`: `{}`", one.pattern().unwrap_or_default(), one.name())
        }
        _ => format!("default date pattern for `{}`: {count} template(s)", repr_str(line)),
    }
}

/// The anchored twins, then the base templates: 31.
fn all_defaults(years: &str) -> Result<Vec<Template>, DateError> {
    let base = template::base(years)?;
    let mut all = Vec::with_capacity(2 * base.len());
    for template in &base {
        all.extend(template.line_anchored(years)?);
    }
    all.extend(base);
    Ok(all)
}

/// The first three digits of plausible years as a regular expression: `20[012]` in 2026.
///
/// The decades reach from 2000 (or 1900) to that of the year after next, so that a server that is not
/// restarted for long still knows its dates.
fn plausible_years(options: &DateOptions) -> String {
    let year = jiff::Timestamp::from_microsecond(options.now.0)
        .map_or(1970, |now| i64::from(jiff::tz::TimeZone::UTC.to_datetime(now).year()));
    let first = match options.years {
        Years::Server => 200,
        Years::Since1900 => 190,
    };
    let last = ((year + 3) / 10).clamp(200, 999);
    let decades = |from: i64, to: i64| -> String {
        (from..=to).filter_map(|d| char::from_digit((d % 10) as u32, 10)).collect()
    };
    let centuries: Vec<String> = (first / 10..=last / 10)
        .map(|century| {
            let from = first.max(century * 10);
            let to = last.min(century * 10 + 9);
            match decades(from, to) {
                one if one.len() == 1 => format!("{century}{one}"),
                several => format!("{century}[{several}]"),
            }
        })
        .collect();
    match centuries.as_slice() {
        [one] => one.clone(),
        several => format!("(?:{})", several.join("|")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(now: &str) -> DateOptions {
        let now = now.parse::<jiff::Timestamp>().unwrap();
        DateOptions { now: Timestamp(now.as_microsecond()), years: Years::Server }
    }

    #[test]
    fn years() {
        let check = |year: i64, years: Years, expected: &str| {
            let now = options(&format!("{year}-06-01T00:00:00Z")).now;
            assert_eq!(plausible_years(&DateOptions { now, years }), expected, "{year}");
        };
        check(2026, Years::Server, "20[012]");
        check(2027, Years::Server, "20[0123]");
        check(2098, Years::Server, "(?:20[0123456789]|210)");
        check(1970, Years::Server, "200");
        check(2026, Years::Since1900, "(?:19[0123456789]|20[012])");
    }

    #[test]
    fn lists() {
        let options = options("2026-11-23T00:00:00Z");
        let check = |text: &str, count: usize, first: &str, shown: (Option<&str>, &str)| {
            let spec = DateSpec::parse(text, &options).unwrap();
            assert_eq!(spec.templates().len(), count, "{text}");
            assert_eq!(spec.templates()[0].name(), first, "{text}");
            assert_eq!(spec.shown(), shown, "{text}");
        };
        let many = (None, "Default Detectors");
        let iso = "{^LN-BEG}ExYear(?P<_sep>[-/.])Month(?P=_sep)Day(?:T|  ?)24hour:Minute:Second\
                   (?:[.,]Microseconds)?(?:\\s*Zone offset)?";
        check("", 31, iso, many);
        check("{DEFAULT}", 31, iso, many);
        check("{default}", 31, iso, many);
        check("{^LN-BEG}", 17, iso, many);
        check("%Y\n\n  %m \n", 2, "Year", (Some("%Y"), "Year"));
        check("epoch", 1, "Epoch", (None, "Epoch"));
        check("^LEPOCH", 1, "{^LN-BEG}LongEpoch", (None, "{^LN-BEG}LongEpoch"));
        check("{^LN-BEG}TAI64N", 1, "{^LN-BEG}TAI64N", (None, "{^LN-BEG}TAI64N"));
        check("{NONE}", 1, "^", (Some("{UNB}^"), "^"));
        check("at {EPOCH}", 1, "at {EPOCH}", (None, "at {EPOCH}"));
        check(
            r"^\[{DATE}\]",
            17,
            r"^\[ExYear(?P<_sep>[-/.])Month(?P=_sep)Day(?:T|  ?)24hour:Minute:Second(?:[.,]Microseconds)?(?:\s*Zone offset)?\]",
            many,
        );
        check("%H:%M:%S\n{DEFAULT}", 32, "24hour:Minute:Second", many);
        check("{DEFAULT}\n%H:%M:%S", 32, iso, many);
    }

    #[test]
    fn what_the_log_says() {
        let text = "{default}\n{^LN-BEG}\n^\\[{DATE}'\n%Y\nat {EPOCH}\n{NONE}";
        let spec = DateSpec::parse(text, &options("2026-11-23T00:00:00Z")).unwrap();
        let expected = [
            "default date pattern: 31 template(s)",
            "default filtered date pattern: 17 template(s)",
            r#"default date pattern for `"^\\[{DATE}'"`: 17 template(s)"#,
            "date pattern `%Y`: `Year`",
            "date pattern ``: `at {EPOCH}`",
            "date pattern `{UNB}^`: `^`",
        ];
        assert_eq!(spec.told(), expected);
        assert!(DateSpec::parse("", &options("2026-11-23T00:00:00Z")).unwrap().told().is_empty());
    }

    #[test]
    fn refused() {
        let options = options("2026-11-23T00:00:00Z");
        let check = |text: &str, message: &str| {
            let error = DateSpec::parse(text, &options).unwrap_err().to_string();
            assert!(error.starts_with(message), "{text}: {error}");
        };
        check(
            "%Q",
            "Failed to set datepattern '%Q' (may be an invalid format or unescaped percent char): \
             unsupported format character 'Q' (0x51) at index 1",
        );
        check("%Y(", "Failed to set datepattern '%Y('");
        check("%Y\n%Y", "There is already a template with name Year");
    }
}
