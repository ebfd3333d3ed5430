//! Lines of a source, through the filters of the jails that read it.
//!
//! The filters judge; here is only the wiring: which jail sees which part of a batch, and that a
//! position counts as read after its failures were handed on.

use std::sync::Arc;

use super::count::{Case, What};
use super::desk::{Desk, logger};
use super::{Engine, JailKey};
use crate::command::{CommandError, ErrorClass, Seconds};
use crate::effect::{Batch, Effect, Level, Position};
use crate::filter::{
    Filter, FilterError, FilterOutput, FilterSpec, Finding, FoundId, LineContext, Pattern, Reader,
    Report, Scanner, UseDns, process_batch,
};
use crate::id::Id;
use crate::spec::{JailSpec, LineSpec};
use crate::time::{Timestamp, Zone};
use crate::value::Value;

/// Most date patterns of a jail that the log names.
const MAX_TOLD: usize = 10;

/// What a jail remembers between lines.
#[derive(Clone, Debug, Default)]
pub(super) struct LineState {
    filter: Option<Filter>,
    /// Grows with every change of the filter.
    version: u64,
    /// The log has told which dates are looked for.
    dates_told: bool,
}

/// The search for lines worth judging, prepared for the filters of one source.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    made_for: Vec<(JailKey, u64)>,
    scanner: Scanner,
}

fn filter_spec(lines: &LineSpec) -> FilterSpec {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    FilterSpec {
        prefregex: some(&lines.prefregex),
        failregex: lines.failregex.clone(),
        ignoreregex: lines.ignoreregex.clone(),
        maxlines: usize::try_from(lines.maxlines.clamp(1, 10_000)).unwrap_or(1),
        datepattern: some(&lines.datepattern),
        usedns: UseDns::parse(&lines.usedns).unwrap_or_default(),
        logtimezone: lines.logtimezone.as_deref().and_then(some),
        ..FilterSpec::default()
    }
}

fn refusal(error: &FilterError) -> CommandError {
    let class = match error {
        FilterError::Pattern { .. } => ErrorClass::Regex,
        FilterError::Date(_) => ErrorClass::ValueError,
    };
    CommandError::new(class, error.to_string())
}

impl LineState {
    /// The filter that a specification asks for, made from this one where it can be. On an error
    /// nothing has changed.
    pub fn prepare(
        &self,
        spec: &JailSpec,
        zone: &Zone,
        now: Timestamp,
    ) -> Result<Filter, CommandError> {
        let wanted = filter_spec(&spec.lines);
        let made = match &self.filter {
            Some(filter) => {
                let mut filter = filter.clone();
                filter.respec(&wanted, now).map(|()| filter)
            }
            None => Filter::compile(&wanted, zone, now),
        };
        made.map_err(|error| refusal(&error))
    }

    /// Whether there is a filter.
    pub fn ready(&self) -> bool {
        self.filter.is_some()
    }

    /// Judges by this filter from now on.
    pub fn install(&mut self, filter: Filter) {
        self.filter = Some(filter);
        self.version += 1;
    }

    /// Tells which dates are looked for, where that was configured.
    pub fn tell_patterns(&mut self, desk: &mut Desk, pattern: &str) {
        self.dates_told = !pattern.is_empty();
        let Some(dates) = self.filter.as_ref().filter(|_| self.dates_told).map(Filter::dates)
        else {
            return;
        };
        let told = dates.spec().told();
        for text in told.iter().take(MAX_TOLD) {
            desk.log(Level::Info, logger::DATEDETECTOR, format!("  {text}"));
        }
        if let Some(more @ 1..) = told.len().checked_sub(MAX_TOLD) {
            let text = format!("  and {more} more date patterns");
            desk.log(Level::Info, logger::DATEDETECTOR, text);
        }
    }

    /// The built-in templates are told of when the first line comes.
    fn tell_default(&mut self, desk: &mut Desk) {
        if std::mem::replace(&mut self.dates_told, true) {
            return;
        }
        let count = self.filter.as_ref().map_or(0, |filter| filter.dates().templates().count());
        let text = format!("  default date pattern: {count} template(s)");
        desk.log(Level::Info, logger::DATEDETECTOR, text);
    }

    /// `get J datepattern`
    pub fn shown_date_pattern(&self, spec: &JailSpec) -> Value {
        let default = Value::Tuple(vec![Value::None, Value::str("Default Detectors")]);
        let Some(filter) = self.filter.as_ref().filter(|_| !spec.journal()) else {
            return if spec.journal() { Value::None } else { default };
        };
        let mut templates = filter.dates().templates();
        match (templates.next(), templates.nth(1)) {
            (Some(first), None) => {
                let pattern = first.template.pattern().map_or(Value::None, Value::str);
                Value::Tuple(vec![pattern, Value::str(first.template.name())])
            }
            _ => default,
        }
    }

    /// `get J failregex`
    pub fn shown_fail(&self, spec: &JailSpec) -> Value {
        shown(self.filter.as_ref().map(Filter::failregex), &spec.lines.failregex)
    }

    /// `get J ignoreregex`
    pub fn shown_ignore(&self, spec: &JailSpec) -> Value {
        shown(self.filter.as_ref().map(Filter::ignoreregex), &spec.lines.ignoreregex)
    }

    /// `get J prefregex`
    pub fn shown_prefix(&self, spec: &JailSpec) -> Value {
        let pattern = self.filter.as_ref().and_then(Filter::prefregex);
        Value::str(pattern.map_or(spec.lines.prefregex.as_str(), Pattern::expanded))
    }
}

/// Expressions as clients see them: expanded.
fn shown(compiled: Option<&[Pattern]>, raw: &[String]) -> Value {
    match compiled {
        Some(patterns) => Value::strs(patterns.iter().map(Pattern::expanded)),
        None => Value::strs(raw.iter().map(String::as_str)),
    }
}

/// A jail's part in a batch.
struct Part {
    jail: JailKey,
    name: Arc<str>,
    filter: Filter,
    version: u64,
    findtime: Seconds,
    /// Bytes at the beginning that it has read in an earlier life.
    skip: usize,
}

/// How many bytes of a batch end before a saved position.
fn read_before(batch: &Batch, saved: Option<&Position>) -> usize {
    let Some(saved) = saved else { return 0 };
    let end = batch.position.offset;
    if saved.first_line != batch.position.first_line || !batch.times.is_empty() {
        return 0;
    }
    if end <= saved.offset {
        return batch.data.len();
    }
    // What came in other encodings has other lengths; then a few lines are read twice at most.
    let start = end - batch.data.len() as f64;
    let skip = (saved.offset - start).max(0.0) as usize;
    let before = batch.data.get(..skip).unwrap_or(&[]);
    before.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1)
}

impl Engine {
    /// Complete lines of a source.
    pub(super) fn lines(&mut self, batch: Batch) {
        let mut parts: Vec<Part> = Vec::new();
        for (key, saved) in self.readers(batch.source) {
            let skip = read_before(&batch, saved.as_ref());
            let Some(jail) = self.jails.get_mut(&key) else { continue };
            if batch.times.is_empty() {
                jail.lines.tell_default(&mut self.desk);
            }
            let Some(filter) = jail.lines.filter.take() else { continue };
            parts.push(Part {
                jail: key,
                name: Arc::clone(&jail.name),
                filter,
                version: jail.lines.version,
                findtime: jail.spec.find_time,
                skip,
            });
        }
        let mut found: Vec<(JailKey, FilterOutput)> = Vec::new();
        // Those that see all of it share one scan.
        let (mut whole, mut rest): (Vec<Part>, Vec<Part>) =
            parts.into_iter().partition(|p| p.skip == 0);
        let scanner = self.scanner(&batch, &whole);
        let mut cut = self.scan(&batch, &mut whole, 0, scanner.as_ref(), &mut found);
        for part in &mut rest {
            let (skip, part) = (part.skip, std::slice::from_mut(part));
            if skip < batch.data.len() {
                cut += self.scan(&batch, part, skip, None, &mut found);
            }
        }
        for part in whole.into_iter().chain(rest) {
            if let Some(jail) = self.jails.get_mut(&part.jail) {
                jail.lines.filter = Some(part.filter);
            }
        }
        if let Some(source) = self.sources.get_mut(&batch.source) {
            source.prepared = scanner;
            if cut > 0 && !std::mem::replace(&mut source.cut_said, true) {
                let text = format!(
                    "{}: lines longer than 16 KiB are matched up to there only",
                    source.kind.path()
                );
                self.desk.log(Level::Warning, logger::FILTER, text);
            }
        }
        let counts =
            |(_, output): &(JailKey, FilterOutput)| matches!(output, FilterOutput::Finding(_));
        if found.iter().any(counts)
            && let Some(source) = self.sources.get_mut(&batch.source)
        {
            source.counted = true;
        }
        for (jail, output) in found {
            match output {
                FilterOutput::Finding(finding) => self.finding(jail, finding),
                FilterOutput::Log(record) => self.desk.out.push(Effect::Log(record)),
                FilterOutput::Quiet(_) | FilterOutput::Ignored(_) | FilterOutput::Prefix(_) => {}
            }
        }
        self.advanced(batch.source, batch.position);
    }

    /// The scanner for these filters, made anew when one of them has changed.
    fn scanner(&mut self, batch: &Batch, parts: &[Part]) -> Option<Prepared> {
        let made_for: Vec<(JailKey, u64)> = parts.iter().map(|p| (p.jail, p.version)).collect();
        let old = self.sources.get_mut(&batch.source).and_then(|s| s.prepared.take());
        if let Some(old) = old.filter(|old| old.made_for == made_for) {
            return Some(old);
        }
        let filters: Vec<&Filter> = parts.iter().map(|p| &p.filter).collect();
        Some(Prepared { scanner: Scanner::new(&filters), made_for })
    }

    /// Gives the lines from `skip` on to the filters; how many lines were cut.
    fn scan(
        &self,
        batch: &Batch,
        parts: &mut [Part],
        skip: usize,
        prepared: Option<&Prepared>,
        found: &mut Vec<(JailKey, FilterOutput)>,
    ) -> u64 {
        if parts.is_empty() {
            return 0;
        }
        let own;
        let scanner = match prepared {
            Some(prepared) => &prepared.scanner,
            None => {
                let filters: Vec<&Filter> = parts.iter().map(|p| &p.filter).collect();
                own = Scanner::new(&filters);
                &own
            }
        };
        let keys: Vec<JailKey> = parts.iter().map(|p| p.jail).collect();
        let mut readers: Vec<Reader<'_>> = parts
            .iter_mut()
            .map(|part| Reader {
                ctx: LineContext {
                    jail: &part.name,
                    now: self.desk.now.wall,
                    live: batch.live,
                    findtime: Some(part.findtime),
                    entry_time: None,
                    skipped: &[],
                    check_all: false,
                    report: Report::Nothing,
                },
                filter: &mut part.filter,
            })
            .collect();
        let data = batch.data.get(skip..).unwrap_or(&[]);
        let mut sink = |reader: usize, output: FilterOutput| {
            if let Some(key) = keys.get(reader) {
                found.push((*key, output));
            }
        };
        process_batch(&mut readers, scanner, data, &batch.times, &mut sink).cut
    }

    /// A match of a filter.
    fn finding(&mut self, jail: JailKey, finding: Finding) {
        let id = match &finding.id {
            FoundId::Id(id) => id.clone(),
            FoundId::Name(name) => {
                let warn = self.jails.get(&jail).is_some_and(|j| j.spec.lines.usedns == "warn");
                let name = name.clone();
                let failure = finding.into_failure(Id::Raw(name.clone()));
                return self.judge(Case { jail, what: What::Name { name, failure, warn } });
            }
            FoundId::Unknown => return,
        };
        self.failure(jail, finding.into_failure(id));
    }
}
