//! One date template: its regular expression, and how the matched text is read.

use super::digits;
use super::error::DateError;
use super::facts::{Facts, Line};
use super::fast::{self, Answer, Fast};
use super::fields::{self, Field, Parsed};
use super::pattern::{self, Anchored, Begin, Built, LINE_BEGIN};
use super::table::TEMPLATES;
use crate::regex::{Captures, Flags, Regex};
use std::cell::OnceCell;
use std::ops::Range;

/// How the text of the match is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Named groups of a civil date.
    Civil,
    /// Unix time in the group of this number.
    Epoch { group: usize, long: bool },
    /// A TAI64N label in group 1.
    Tai64n,
}

/// A date template. Cheap to clone; a clone brings the compiled expression along, if there is one.
#[derive(Clone, Debug)]
pub struct Template {
    name: String,
    pattern: Option<String>,
    regex: String,
    anchored: Anchored,
    weight: f64,
    kind: Kind,
    needs: Facts,
    fast: Option<Fast>,
    years: String,
    /// Most built-in templates are never needed, so compiled at first use.
    compiled: OnceCell<Option<Compiled>>,
}

#[derive(Clone, Debug)]
struct Compiled {
    regex: Regex,
    fields: Vec<(Field, usize)>,
}

/// A match in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// All of it.
    pub whole: Range<usize>,
    /// Group 1: what is cut out of the line.
    pub date: Range<usize>,
    /// What it says.
    pub parsed: Parsed,
}

const EPOCH: &str = r"\d{10,11}\b(?:\.\d{3,6})?";
const LONG_EPOCH: &str = r"\d{10,11}(?:\d{3}(?:\.\d{1,6}|\d{3})?)?";
const EPOCH_MARKERS: [&str; 2] = ["{LEPOCH}", "{EPOCH}"];
const TAI64N: &str = "@[0-9a-f]{24}";

impl Template {
    /// Reads one line of a `datepattern`, except the words that stand for several templates.
    ///
    /// `years` are the plausible first three digits of a year, as a regular expression.
    pub(super) fn parse(text: &str, years: &str) -> Result<Template, DateError> {
        let template = Template::build(text, years)?;
        // Users' patterns are compiled at once, so that a bad one is refused and not discovered at
        // the first line.
        template.compile().map(|compiled| {
            let _ = template.compiled.set(Some(compiled));
        })?;
        Ok(template)
    }

    /// As [`Template::parse`], for texts that are known to be good.
    pub(super) fn build(text: &str, years: &str) -> Result<Template, DateError> {
        let key = if text.contains('%') { text.to_owned() } else { text.to_uppercase() };
        let begin = |word: &str| match key.strip_suffix(word)? {
            "" => Some(Begin::Free),
            "^" | LINE_BEGIN => Some(Begin::Line),
            _ => None,
        };
        let template = if let Some(begin) = begin("LEPOCH") {
            Self::epoch(begin, true)
        } else if let Some(begin) = begin("EPOCH") {
            Self::epoch(begin, false)
        } else if let Some(begin) = begin("TAI64N") {
            let built = pattern::bound("TAI64N".to_owned(), TAI64N, begin, true);
            Self::new(built, None, Kind::Tai64n)
        } else if let Some(template) = Self::epoch_inside(text, &key) {
            template
        } else {
            let text = if key == "{NONE}" { "{UNB}^" } else { text };
            let built = pattern::build(text, years)
                .map_err(|reason| DateError::Pattern { pattern: text.to_owned(), reason })?;
            Self::new(built, Some(text.to_owned()), Kind::Civil)
        };
        Ok(Template { years: years.to_owned(), ..template })
    }

    fn new(built: Built, pattern: Option<String>, kind: Kind) -> Template {
        let source = pattern.as_deref().unwrap_or(&built.name);
        let source = source.strip_prefix(LINE_BEGIN).unwrap_or(source);
        let row = TEMPLATES.iter().find(|row| {
            let known = row.pattern.strip_prefix(LINE_BEGIN).unwrap_or(row.pattern);
            known == source || kind != Kind::Civil && known.eq_ignore_ascii_case(source)
        });
        Template {
            needs: row.map_or(Facts::NONE, |row| row.needs),
            fast: pattern.as_deref().and_then(fast::for_pattern),
            name: built.name,
            pattern,
            regex: built.regex,
            anchored: built.anchored,
            weight: 1.0,
            kind,
            years: String::new(),
            compiled: OnceCell::new(),
        }
    }

    /// `EPOCH` and `LEPOCH` on their own.
    fn epoch(begin: Begin, long: bool) -> Template {
        let (name, number) = if long { ("LongEpoch", LONG_EPOCH) } else { ("Epoch", EPOCH) };
        let regex = match begin {
            Begin::Line => format!(r"((?P<square>(?<=^\[))?{number})(?(square)(?=\]))"),
            _ => format!(
                r"((?:^|(?P<square>(?<=^\[))|(?P<selinux>(?<=\baudit\())){number})(?:(?(selinux)(?=:\d+\)))|(?(square)(?=\])))"
            ),
        };
        let built = pattern::bound(name.to_owned(), &regex, begin, true);
        Self::new(built, None, Kind::Epoch { group: 1, long })
    }

    /// `{EPOCH}` or `{LEPOCH}` somewhere in an expression of the user's.
    fn epoch_inside(text: &str, key: &str) -> Option<Template> {
        if !key.contains("EPOCH") {
            return None;
        }
        let long = key.contains("LEPOCH");
        let number = if long { LONG_EPOCH } else { EPOCH };
        let (regex, found) = pattern::replace_marker(text, &EPOCH_MARKERS, &format!("({number})"));
        if !found {
            return None;
        }
        // With a group of the user's that group is cut out, else all of it. The number is the second
        // group either way.
        let regex = if pattern::has_group(text) { regex } else { format!("({regex})") };
        let built = pattern::bound(text.to_owned(), &regex, Begin::Word, true);
        Some(Self::new(built, None, Kind::Epoch { group: 2, long }))
    }

    /// The anchored twin of a built-in template, if it has one.
    pub(super) fn line_anchored(&self, years: &str) -> Result<Option<Template>, DateError> {
        if self.name.starts_with(LINE_BEGIN) || self.name.starts_with('^') {
            return Ok(None);
        }
        let text = format!("{LINE_BEGIN}{}", self.source());
        Ok(Some(Template { weight: 100.0, ..Template::build(&text, years)? }))
    }

    /// Takes the weight of the template of the same name.
    pub(super) fn adopt_weight(&mut self, known: &[Template]) {
        if let Some(same) = known.iter().find(|other| other.name == self.name) {
            self.weight = same.weight;
        }
    }

    /// What is put in place of `{DATE}`.
    pub(super) fn source(&self) -> &str {
        self.pattern.as_deref().unwrap_or(&self.name)
    }

    /// The name that `fail2ban-regex` shows.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The pattern as configured; `EPOCH` and `TAI64N` have none.
    pub fn pattern(&self) -> Option<&str> {
        self.pattern.as_deref()
    }

    /// The regular expression.
    pub fn regex(&self) -> &str {
        &self.regex
    }

    /// How much a match counts when templates compete: 100 for the anchored built-in ones, else 1.
    pub fn weight(&self) -> f64 {
        self.weight
    }

    /// Whether it finds TAI64N labels.
    pub(super) fn is_tai64n(&self) -> bool {
        self.kind == Kind::Tai64n
    }

    /// Whether it can match at the start or at the end of the line only.
    pub fn is_anchored(&self) -> bool {
        self.anchored.any()
    }

    /// Whether it can match at the start of the line only.
    pub(super) fn is_line_begin(&self) -> bool {
        self.anchored.start
    }

    fn compile(&self) -> Result<Compiled, DateError> {
        let regex = Regex::new(&self.regex, Flags::default()).map_err(|e| DateError::Pattern {
            pattern: self.source().to_owned(),
            reason: e.to_string(),
        })?;
        let names = regex.group_names();
        let named = names.iter().enumerate();
        let fields = named.filter_map(|(i, name)| Some((Field::of((*name)?)?, i))).collect();
        Ok(Compiled { regex, fields })
    }

    /// Whether it could match in the line; `false` is certain.
    pub(super) fn may_match(&self, line: &Line<'_>) -> bool {
        let facts = if self.anchored.start { line.facts_of_head() } else { line.facts() };
        self.needs == Facts::NONE || facts.have(self.needs)
    }

    /// Searches all of the line.
    pub(super) fn search(&self, line: &Line<'_>) -> Option<Found> {
        match self.search_fast(line.text, 0, line.text.len()) {
            Answer::Match(found) => Some(found),
            Answer::NoMatch => None,
            Answer::Unsure if !self.may_match(line) => None,
            Answer::Unsure => self.search_slowly(line.text, 0, line.text.len()),
        }
    }

    /// Searches `line[from..to]`; what stands before `from` counts for look-behinds, what stands
    /// after `to` does not exist.
    pub(super) fn search_part(&self, line: &str, from: usize, to: usize) -> Option<Found> {
        match self.search_fast(line, from, to) {
            Answer::Match(found) => Some(found),
            Answer::NoMatch => None,
            Answer::Unsure => self.search_slowly(line, from, to),
        }
    }

    fn search_fast(&self, line: &str, from: usize, to: usize) -> Answer {
        self.fast.map_or(Answer::Unsure, |fast| fast.search(line, from, to, &self.years))
    }

    /// Whether the hand-written parser and the look at what the line holds give the answer of the
    /// regular expression, as they must. For tests.
    pub fn shortcuts_agree(&self, text: &str) -> bool {
        self.search(&Line::new(text)) == self.search_slowly(text, 0, text.len())
    }

    /// As [`Template::search_part`], always by the regular expression.
    pub(super) fn search_slowly(&self, line: &str, from: usize, to: usize) -> Option<Found> {
        if from > to {
            return None;
        }
        let compiled = self.compiled.get_or_init(|| self.compile().ok()).as_ref()?;
        let text = line.get(..to)?;
        // A pattern that needs too many steps on this line finds no date in it.
        let captures = compiled.regex.search(text, from).ok()??;
        let whole = captures.get(0)?;
        let date = captures.get(1).unwrap_or_else(|| {
            // The user's group took no part in the match: nothing is cut out.
            let end = text.char_indices().next_back().map_or(0, |(at, _)| at);
            end..end
        });
        let parsed = self.read(text, &captures, &compiled.fields);
        Some(Found { whole, date, parsed })
    }

    fn read(&self, text: &str, captures: &Captures, fields: &[(Field, usize)]) -> Parsed {
        let group = |i: usize| captures.get(i).and_then(|range| text.get(range));
        match self.kind {
            Kind::Civil => {
                fields::read(fields.iter().filter_map(|(field, i)| Some((*field, group(*i)?))))
            }
            Kind::Epoch { group: number, long } => {
                group(number).map_or(Parsed::Invalid, |text| fields::epoch(text, long))
            }
            Kind::Tai64n => group(1).map_or(Parsed::Invalid, fields::tai64n),
        }
    }
}

/// The 17 built-in templates in their order.
pub(super) fn base(years: &str) -> Result<Vec<Template>, DateError> {
    TEMPLATES.iter().map(|row| Template::build(row.pattern, years)).collect()
}

/// The templates of one line of a `datepattern` that holds `{DATE}`.
pub(super) fn with_date_inside(text: &str, years: &str) -> Result<Vec<Template>, DateError> {
    let mut templates = Vec::new();
    for template in base(years)? {
        let inside = pattern::unbound(template.source());
        let (text, _) = pattern::replace_marker(text, &["{DATE}"], inside);
        let text = text.trim_matches(digits::is_space);
        templates.push(Template::parse(text, years)?);
    }
    Ok(templates)
}
