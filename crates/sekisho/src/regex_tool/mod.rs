//! `fail2ban-regex`: shows what regexes and filters make of log lines, and bans nobody.
//!
//! It runs the very engine the server runs, with the clock's judgement switched off: every date is
//! taken as it stands. What it prints is fail2ban's layout, because people and scripts read it.

mod findings;
mod input;
mod load;
mod options;
mod progress;
mod report;

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};

use sekisho_core::effect::{Level, Record};
use sekisho_core::filter::{Filter, FilterOutput, Finding, FoundId, LineContext, Report, UseDns};
use sekisho_core::id::Id;
use sekisho_core::time::{Timestamp, Zone};
use sekisho_core::value::Value;

use crate::client::complain_plainly;
use crate::clock;
use crate::resolve::addresses_of;
use findings::Found;
use load::Loaded;
use options::{Options, Stop};
use progress::{Count, Progress};
use report::Counts;

/// A mistake in what was asked.
const FAILED: u8 = 255;
/// What usage lines call us.
const PROGRAM: &str = "fail2ban-regex";

/// Every option and what it does, for the manual page.
pub fn option_list() -> impl Iterator<Item = (String, &'static str)> {
    options::list()
}

/// Runs the program with its arguments; the exit code.
pub fn main(args: &[String]) -> u8 {
    let mut out = BufWriter::new(io::stdout().lock());
    let code = match options::parse(PROGRAM, args) {
        Ok(options) => run(&options, &mut out),
        Err(Stop::Show(text)) => out.write_all(text.as_bytes()).map(|()| 0),
        Err(Stop::Usage(text)) => {
            complain_plainly(&format!("{}\n{PROGRAM}: error: {text}", options::usage(PROGRAM)));
            Ok(2)
        }
    };
    let code = code.and_then(|code| out.flush().map(|()| code));
    match code {
        Ok(code) => code,
        // Whoever reads has seen enough (`| head`).
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => 0,
        Err(e) => {
            let _ = writeln!(out, "ERROR: {e}");
            let _ = out.flush();
            FAILED
        }
    }
}

fn run(options: &Options, out: &mut dyn Write) -> io::Result<u8> {
    let errors = options.errors();
    let (Some(log), true) = (options.args.first(), errors.is_empty()) else {
        out.write_all(options::help(PROGRAM).as_bytes())?;
        out.flush()?;
        complain_plainly(&format!("\n{}", errors.join("\n")));
        return Ok(FAILED);
    };
    let Some(level) = level(&options.log_level) else {
        writeln!(out, "ERROR: Invalid log level {:?}", options.log_level)?;
        return Ok(FAILED);
    };
    let quiet = options.out.is_some();
    let told = !quiet && !options.json;
    if told {
        writeln!(out, "\nRunning tests\n=============\n")?;
    }
    let now = clock::now().wall;
    let zone = clock::zone();
    let mut header: Vec<String> = Vec::new();
    let loaded = load::load(options, &zone, now, &mut header);
    if told {
        header.iter().try_for_each(|line| writeln!(out, "{line}"))?;
    }
    let Loaded { mut filter, fail, ignore, journalmatch } = match loaded {
        Ok(loaded) => loaded,
        Err(text) => {
            writeln!(out, "{text}")?;
            // A misspelt name ends here, too.
            if text.contains("No failure-id group") {
                out.flush()?;
                let taken = "it is no jail, filter or file, thus a regular expression";
                complain_plainly(&format!("{taken}; that has <HOST> where the address stands"));
            }
            return Ok(FAILED);
        }
    };
    let input = input::open(log, &journalmatch)?;
    let maxlines = filter.spec().maxlines;
    if told {
        input::describe(&input, out, options, maxlines, &journalmatch)?;
        writeln!(out)?;
        out.flush()?;
    }

    let started = clock::now().mono;
    // Entries of the journal bring their time; with a pattern of its own dates are counted all the same.
    let dated = !matches!(input, input::Input::Journal(_)) || filter.spec().datepattern.is_some();
    let mut counts = Counts::new(options, &fail, &ignore);
    let mut test = Test {
        options,
        level,
        zone: &zone,
        ctx: LineContext {
            jail: "~jailless~",
            now,
            live: false,
            findtime: None,
            entry_time: None,
            skipped: &[],
            check_all: options.check_all && !quiet,
            report: match (quiet, options.verbose > 0) {
                (true, _) => Report::Nothing,
                (false, false) => Report::Matches,
                (false, true) => Report::Groups,
            },
        },
        outputs: Vec::new(),
        lines: 0,
    };
    let count = Count::default();
    let total = input::size(&input);
    let mut progress = Progress::new(count.clone(), total, !quiet, started);
    let read = input::read(input, &options.encoding, count, &mut |line, time| {
        let line = line.trim_end_matches(['\r', '\n']);
        // Comments, as in files of sample lines.
        if time.is_none() && (line.is_empty() || line.starts_with('#')) {
            return Ok(());
        }
        if test.lines.is_multiple_of(256) {
            progress.look(clock::now().mono);
        }
        test.line(&mut filter, &mut counts, line, time, out)
    });
    progress.end();
    read?;
    if options.json {
        counts.print_json(out, &filter, dated, &zone)?;
    } else if !quiet {
        let seconds = clock::now().mono.since(started).as_secs_f64();
        counts.print(out, &filter, dated, &zone, seconds)?;
    }
    Ok(0)
}

/// One run over lines.
struct Test<'a> {
    options: &'a Options,
    level: Level,
    zone: &'a Zone,
    ctx: LineContext<'a>,
    outputs: Vec<FilterOutput>,
    lines: u64,
}

impl Test<'_> {
    fn line(
        &mut self,
        filter: &mut Filter,
        counts: &mut Counts<'_>,
        line: &str,
        time: Option<Timestamp>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let spans_lines = filter.spec().maxlines > 1 && self.options.out.is_none();
        let before = if spans_lines { filter.window().to_vec() } else { Vec::new() };
        self.ctx.entry_time = time;
        // Reading the clock for every line would be much of the work.
        if self.lines.is_multiple_of(256) {
            self.ctx.now = clock::now().wall;
        }
        self.lines = self.lines.wrapping_add(1);
        filter.line(&self.ctx, line, &mut self.outputs);

        let mut found: Vec<Found> = Vec::new();
        let mut ignored = false;
        for output in std::mem::take(&mut self.outputs) {
            match output {
                FilterOutput::Finding(finding) | FilterOutput::Quiet(finding) => {
                    for (id, finding) in self.named(filter, finding, out)? {
                        let who = id.as_ref().map(Id::to_string);
                        counts.hit(&finding, who, found.len() > 1);
                        if finding.nofail {
                            ignored = true;
                        } else {
                            let id = id.unwrap_or(Id::Raw("None".into()));
                            found.push(Found { id, finding });
                        }
                    }
                }
                FilterOutput::Ignored(index) => {
                    ignored = true;
                    counts.ignored_by(index);
                }
                FilterOutput::Prefix(groups) => counts.prefix(&groups),
                FilterOutput::Log(record) => self.log(&record, out)?,
            }
        }
        // An entry is shown with its time in front.
        let line = match time {
            Some(time) => Cow::Owned(format!("{} {line}", self.zone.iso(time))),
            None => Cow::Borrowed(line),
        };
        if let Some(form) = &self.options.out {
            return match (self.options.invert, found.is_empty()) {
                (false, _) => findings::print(out, form, &found),
                (true, true) => writeln!(out, "{line}"),
                (true, false) => Ok(()),
            };
        }
        if spans_lines {
            let slid = usize::from(before.len() >= filter.spec().maxlines);
            for old in before.iter().skip(slid) {
                if !filter.window().contains(old) {
                    counts.was_matched_after_all(&old.parts.concat());
                }
            }
        }
        counts.line(&line, ignored, !found.is_empty());
        Ok(())
    }

    /// A finding for each address of a name; one without an id for a connection that has not told.
    fn named(
        &self,
        filter: &Filter,
        finding: Finding,
        out: &mut dyn Write,
    ) -> io::Result<Vec<(Option<Id>, Finding)>> {
        let name = match &finding.id {
            FoundId::Id(id) => return Ok(vec![(Some(id.clone()), finding)]),
            FoundId::Unknown => return Ok(vec![(None, finding)]),
            FoundId::Name(name) => name.clone(),
        };
        let addresses = match addresses_of(&name, true) {
            Ok(found) => found,
            Err(e) => {
                let text = format!("Unable to find a corresponding IP address for {name}: {e}");
                let record = Record { level: Level::Warning, logger: "fail2ban.ipdns", text };
                self.log(&record, out)?;
                Vec::new()
            }
        };
        if filter.spec().usedns == UseDns::Warn && !addresses.is_empty() {
            let set =
                Value::Set(addresses.iter().map(|a| Value::Str(Id::Ip(*a).to_string())).collect());
            let text = format!("Determined IP using DNS Lookup: {name} = {}", set.repr());
            self.log(&Record { level: Level::Warning, logger: "fail2ban.ipdns", text }, out)?;
        }
        Ok(addresses.into_iter().map(|ip| (Some(Id::Ip(ip)), finding.clone())).collect())
    }

    /// Log messages go where the results go, from the level asked for on.
    fn log(&self, record: &Record, out: &mut dyn Write) -> io::Result<()> {
        if record.level < self.level {
            return Ok(());
        }
        let name = level_name(record.level);
        let short = if self.options.verbose <= 1 {
            format!("{}: ", name.chars().next().unwrap_or(' '))
        } else {
            " ".into()
        };
        let mut errors = io::stderr();
        // Among JSON it has no place.
        let out = if self.options.json { &mut errors } else { out };
        let now = clock::now().wall;
        let millis = now.0.rem_euclid(1_000_000) / 1000;
        writeln!(
            out,
            "{},{millis:03} {:<24}[{}]: {name:<7}{short}{}",
            self.zone.format(now),
            record.logger,
            std::process::id(),
            record.text
        )
    }
}

fn level(name: &str) -> Option<Level> {
    Some(match name.to_ascii_uppercase().as_str() {
        "CRITICAL" => Level::Critical,
        "ERROR" => Level::Error,
        "WARNING" | "WARN" => Level::Warning,
        "NOTICE" => Level::Notice,
        "INFO" => Level::Info,
        "DEBUG" => Level::Debug,
        "MSG" => Level::Msg,
        "TRACEDEBUG" => Level::Trace,
        "HEAVYDEBUG" => Level::Heavy,
        _ => return None,
    })
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Critical => "CRITICAL",
        Level::Error => "ERROR",
        Level::Warning => "WARNING",
        Level::Notice => "NOTICE",
        Level::Info => "INFO",
        Level::Debug => "DEBUG",
        Level::Msg => "MSG",
        Level::Trace => "TRACE",
        Level::Heavy => "HEAVY",
    }
}

/// Compiles a filter of a configuration folder as a server would run it, for measurements.
pub fn load_filter(config: &str, name: &str, now: Timestamp) -> Result<Filter, String> {
    let mut options = Options { config: Some(config.to_owned()), ..Options::default() };
    options.args = vec!["-".to_owned(), name.to_owned()];
    load::load(&options, &clock::zone(), now, &mut Vec::new()).map(|loaded| loaded.filter)
}
