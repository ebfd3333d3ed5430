//! What was counted, and the summary printed of it: byte for byte what scripts and eyes are used to.

use std::io::{self, Write};

use sekisho_core::date::Stamp;
use sekisho_core::failure::Fields;
use sekisho_core::filter::{Filter, Finding};
use sekisho_core::regex::tags::{self, HostTag};
use sekisho_core::time::{Timestamp, Zone};
use sekisho_core::value::Value;

use serde_json::{Value as Json, json};

use super::options::Options;

/// Lines kept per kind unless all are asked for.
const DEFAULT_LIMIT: usize = 20;

/// One regex and its hits.
#[derive(Debug, Default)]
pub(super) struct RegexHits {
    /// As the configuration wrote it.
    pub text: String,
    pub hits: u64,
    /// Who, when if that is known, and whether other regexes had matched the same line (only kept when printed).
    pub found: Vec<(String, Option<Timestamp>, bool)>,
}

/// Lines of one kind: their number, and those to print.
#[derive(Debug, Default)]
pub(super) struct Kind {
    /// Can be negative: a line that was ignored may turn out to belong to a match.
    pub count: i64,
    pub lines: Vec<String>,
}

/// Everything that is counted.
#[derive(Debug)]
pub(super) struct Counts<'a> {
    options: &'a Options,
    limit: usize,
    /// The same, to compare counts with.
    shown: i64,
    pub tested: u64,
    pub matched: Kind,
    pub missed: Kind,
    pub ignored: Kind,
    pub fail: Vec<RegexHits>,
    pub ignore: Vec<RegexHits>,
    prefix_hits: u64,
    prefix_groups: Vec<String>,
}

impl<'a> Counts<'a> {
    pub fn new(options: &'a Options, fail: &[String], ignore: &[String]) -> Self {
        let hits = |texts: &[String]| {
            let row = |text: &String| RegexHits { text: text.clone(), ..RegexHits::default() };
            texts.iter().map(row).collect()
        };
        let limit = if options.maxlines > 0 { options.maxlines } else { DEFAULT_LIMIT };
        Counts {
            options,
            limit,
            shown: i64::try_from(limit).unwrap_or(i64::MAX),
            tested: 0,
            matched: Kind::default(),
            missed: Kind::default(),
            ignored: Kind::default(),
            fail: hits(fail),
            ignore: hits(ignore),
            prefix_hits: 0,
            prefix_groups: Vec::new(),
        }
    }

    /// The prefregex matched.
    pub fn prefix(&mut self, groups: &Fields) {
        self.prefix_hits = self.prefix_hits.saturating_add(1);
        if self.options.verbose == 0 || self.prefix_groups.len() > self.limit {
            return;
        }
        self.prefix_groups.push(if self.prefix_groups.len() < self.limit {
            let pairs = groups.iter().map(|(k, v)| (Value::str(k), v.clone())).collect();
            Value::Dict(pairs).repr()
        } else {
            "...".into()
        });
    }

    /// A failregex matched; `who` is `None` while a connection has not told.
    pub fn hit(&mut self, finding: &Finding, who: Option<String>, others: bool) {
        let Some(regex) = self.fail.get_mut(finding.regex) else { return };
        regex.hits = regex.hits.saturating_add(1);
        if self.options.verbose > 0 {
            let time = (finding.stamp != Stamp::Missing).then_some(finding.time);
            regex.found.push((who.unwrap_or_else(|| "None".into()), time, others));
        }
    }

    /// An ignoreregex matched.
    pub fn ignored_by(&mut self, index: usize) {
        if let Some(regex) = self.ignore.get_mut(index) {
            regex.hits = regex.hits.saturating_add(1);
        }
    }

    /// One line is judged.
    pub fn line(&mut self, line: &str, ignored: bool, matched: bool) {
        let o = self.options;
        self.tested = self.tested.saturating_add(1);
        let (kind, keep, all) = if ignored {
            (&mut self.ignored, !o.print_no_ignored, o.print_all_ignored)
        } else if matched {
            (&mut self.matched, o.print_all_matched, true)
        } else {
            (&mut self.missed, !o.print_no_missed, o.print_all_missed)
        };
        kind.count = kind.count.saturating_add(1);
        if keep && (all || kind.count <= self.shown.saturating_add(1)) {
            kind.lines.push(line.to_owned());
        }
    }

    /// An earlier line, counted as missed, turned out to belong to a match.
    pub fn was_matched_after_all(&mut self, line: &str) {
        if let Some(at) = self.missed.lines.iter().position(|l| l == line) {
            self.missed.lines.remove(at);
        }
        if self.options.print_all_matched {
            self.matched.lines.push(line.to_owned());
        }
        self.matched.count = self.matched.count.saturating_add(1);
        self.missed.count = self.missed.count.saturating_sub(1);
    }

    /// Prints the summary.
    pub fn print(
        &self,
        out: &mut dyn Write,
        filter: &Filter,
        dated: bool,
        zone: &Zone,
        seconds: f64,
    ) -> io::Result<()> {
        writeln!(out, "\nResults\n=======")?;
        if let Some(prefix) = filter.prefregex() {
            writeln!(out, "\nPrefregex: {} total", self.prefix_hits)?;
            let mut rows = vec![prefix.expanded().to_owned()];
            rows.extend(self.prefix_groups.iter().map(|groups| format!("    {groups}")));
            print_list(out, None, &rows)?;
        }
        self.print_regexes(out, "Failregex", &self.fail, zone)?;
        self.print_regexes(out, "Ignoreregex", &self.ignore, zone)?;
        if dated {
            self.print_dates(out, filter)?;
        }
        writeln!(
            out,
            "\nLines: {} lines, {} ignored, {} matched, {} missed",
            self.tested, self.ignored.count, self.matched.count, self.missed.count
        )?;
        writeln!(out, "[processed in {seconds:.2} sec]\n")?;
        let o = self.options;
        if o.print_all_matched {
            self.print_lines(out, "Matched", &self.matched, "matched", true)?;
        }
        if !o.print_no_ignored {
            self.print_lines(out, "Ignored", &self.ignored, "ignored", o.print_all_ignored)?;
        }
        if !o.print_no_missed {
            self.print_lines(out, "Missed", &self.missed, "missed", o.print_all_missed)?;
        }
        Ok(())
    }

    /// Prints the summary as one JSON object. Lines are in it as far as the text would print them.
    pub fn print_json(
        &self,
        out: &mut dyn Write,
        filter: &Filter,
        dated: bool,
        zone: &Zone,
    ) -> io::Result<()> {
        let o = self.options;
        let regexes = |regexes: &[RegexHits]| -> Json {
            let all = regexes.iter().enumerate();
            all.map(|(index, regex)| regex_json(index, regex, o.verbose > 0, zone)).collect()
        };
        let lines = |kind: &Kind, wanted: bool, all: bool| -> Option<Json> {
            let whole = wanted && (all || kind.count < self.shown);
            whole.then(|| kind.lines.iter().map(|line| json!(line.trim_end())).collect())
        };
        let dates = filter.dates().templates();
        let dates = dates.filter(|date| dated && date.hits > 0);
        let dates: Json =
            dates.map(|date| json!({"format": date.template.name(), "hits": date.hits})).collect();
        let all = json!({
            "lines": self.tested,
            "matched": self.matched.count,
            "ignored": self.ignored.count,
            "missed": self.missed.count,
            "prefregex": filter.prefregex().map(|_| json!({"hits": self.prefix_hits})),
            "failregex": regexes(&self.fail),
            "ignoreregex": regexes(&self.ignore),
            "dates": dates,
            "matched_lines": lines(&self.matched, o.print_all_matched, true),
            "ignored_lines": lines(&self.ignored, !o.print_no_ignored, o.print_all_ignored),
            "missed_lines": lines(&self.missed, !o.print_no_missed, o.print_all_missed),
        });
        writeln!(out, "{all}")
    }

    fn print_regexes(
        &self,
        out: &mut dyn Write,
        title: &str,
        regexes: &[RegexHits],
        zone: &Zone,
    ) -> io::Result<()> {
        let verbose = self.options.verbose > 0;
        let mut rows = Vec::new();
        for (index, regex) in regexes.iter().enumerate() {
            if regex.hits > 0 || verbose {
                let number = index.saturating_add(1);
                rows.push(format!("{number:2}) [{}] {}", regex.hits, regex.text));
            }
            for (who, time, others) in &regex.found {
                let others = if *others { " (multiple regex matched)" } else { "" };
                let time = time.map_or_else(|| "no date".into(), |time| long_date(zone, time));
                rows.push(format!("    {who}  {time}{others}"));
            }
        }
        let total: u64 = regexes.iter().map(|regex| regex.hits).sum();
        writeln!(out, "\n{title}: {total} total")?;
        print_list(out, Some(" #) [# of hits] regular expression"), &rows)
    }

    fn print_dates(&self, out: &mut dyn Write, filter: &Filter) -> io::Result<()> {
        writeln!(out, "\nDate template hits:")?;
        let mut rows = Vec::new();
        for stats in filter.dates().templates() {
            if stats.hits == 0 && self.options.verbose == 0 {
                continue;
            }
            rows.push(format!("[{}] {}", stats.hits, stats.template.name()));
            if self.options.verbose_date {
                rows.push(format!(
                    "    # weight: {:.3} ({:.3}), pattern: {}",
                    stats.weight,
                    stats.template.weight(),
                    stats.template.pattern().unwrap_or("")
                ));
                rows.push(format!("    # regex:   {}", stats.template.regex()));
            }
        }
        print_list(out, Some("[# of hits] date format"), &rows)
    }

    fn print_lines(
        &self,
        out: &mut dyn Write,
        title: &str,
        kind: &Kind,
        word: &str,
        all: bool,
    ) -> io::Result<()> {
        if kind.count == 0 {
            return Ok(());
        }
        let title = format!("{title} line(s):");
        if kind.count >= self.shown && !all {
            return writeln!(
                out,
                "{title} too many to print.  Use --print-all-{word} to print all {} lines",
                kind.count
            );
        }
        let rows: Vec<String> = if self.options.debuggex {
            let regexes = if word == "ignored" { &self.ignore } else { &self.fail };
            let row = |line: &String, regex: &RegexHits| self.debuggex_row(line, &regex.text);
            kind.lines.iter().flat_map(|l| regexes.iter().map(move |r| row(l, r))).collect()
        } else {
            kind.lines.iter().map(|line| line.trim_end().to_owned()).collect()
        };
        print_list(out, Some(&title), &rows)
    }

    fn debuggex_row(&self, line: &str, regex: &str) -> String {
        let host = HostTag::for_usedns(self.options.usedns.as_deref().unwrap_or("yes"));
        let expanded = tags::expand(regex, host);
        let flags = if self.options.maxlines > 1 { "&flags=m" } else { "" };
        format!(
            "{line} | {regex} |  https://www.debuggex.com/?re={}&str={}&flavor=python{flags}",
            quote_plus(&expanded),
            quote_plus(line)
        )
    }
}

/// One regex, with what it found if that was asked for.
fn regex_json(index: usize, regex: &RegexHits, found: bool, zone: &Zone) -> Json {
    let number = index.saturating_add(1);
    let mut row = json!({"number": number, "regex": regex.text, "hits": regex.hits});
    if let (true, Some(row)) = (found, row.as_object_mut()) {
        let rows = regex.found.iter().map(
            |(who, time, _)| json!({"id": who, "time": time.and_then(|time| zone.rfc3339(time))}),
        );
        row.insert("found".into(), rows.collect());
    }
    row
}

/// A list with a line at its left.
fn print_list(out: &mut dyn Write, header: Option<&str>, rows: &[String]) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    if let Some(header) = header {
        writeln!(out, "|- {header}")?;
    }
    for row in rows {
        writeln!(out, "|  {row}")?;
    }
    writeln!(out, "`-")
}

/// `Mon Nov 23 01:00:00 2026`, in local time.
fn long_date(zone: &Zone, time: Timestamp) -> String {
    let Ok(at) = jiff::Timestamp::from_microsecond(time.0) else { return time.0.to_string() };
    zone.0.to_datetime(at).strftime("%a %b %d %H:%M:%S %Y").to_string()
}

/// URL quoting with `+` for blanks.
fn quote_plus(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}
