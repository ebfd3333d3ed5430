//! Date patterns: those that users write, and random ones of all tokens, each with a form that mostly
//! fits.

use sekisho_oracle::Random;

/// Patterns of users, with forms that mostly fit.
pub const PATTERNS: &[(&str, &str)] = &[
    ("{DEFAULT}", "%n %e %H:%M:%S"),
    ("{^LN-BEG}", "%Y-%m-%d %H:%M:%S%f%z"),
    ("^\\[{DATE}\\]", "[%Y-%m-%d %H:%M:%S%f%z]"),
    ("\\[{DATE}\\]", "x [%d/%n/%Y:%H:%M:%S%z]"),
    ("{^LN-BEG}{DATE}", "%n %e %H:%M:%S"),
    ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%S"),
    ("^%Y-%m-%d %H:%M:%S %Z", "%Y-%m-%d %H:%M:%S %Z"),
    ("^%Y-%m-%d %H:%M:%S %z", "%Y-%m-%d %H:%M:%S %Z"),
    ("%Y-%m-%d %H:%M:%S %ExZ", "%Y-%m-%d %H:%M:%S %Z"),
    ("%Y-%m-%d %H:%M:%S ?%Exz", "%Y-%m-%d %H:%M:%S %Z"),
    ("%A, %d %B %Y %I:%M %p", "%W, %d %N %Y %I:%M %p"),
    ("%j %H:%M:%S", "%j %H:%M:%S"),
    ("%Y %j", "%Y %j"),
    ("%Y %U %w", "%Y %U %u"),
    ("%Y %W %a", "%Y %U %w"),
    ("%W %w %H:%M", "%U %u %H:%M"),
    ("%m-%Y", "%m-%Y"),
    ("%x %X", "%m/%d/%y %H:%M:%S"),
    ("%c", "%w %n %e %H:%M:%S %Y"),
    ("%d %H:%M", "%d %H:%M"),
    ("%l:%M %p", "%I:%M %p"),
    ("%Exk:%ExM:%ExS", "%k:%M:%S"),
    ("%Exy%Exm%Exd", "%y%m%d"),
    ("%k:%M:%S$", "foo %k:%M:%S"),
    ("%k:%M:%S", "foo %k:%M:%S"),
    ("**%H:%M:%S**", "foo%H:%M:%Sbar"),
    ("{UNB}%H:%M:%S", "foo%H:%M:%Sbar"),
    ("{NONE}", "no date"),
    ("at (%H:%M:%S)", "x at %H:%M:%S"),
    ("^(?:\\w+ )?%H:%M", "foo %H:%M"),
    ("(?i)T=%H:%M", "t=%H:%M"),
    ("EPOCH", "%s"),
    ("^EPOCH", "[%s]"),
    ("LEPOCH", "%L"),
    ("{^LN-BEG}LEPOCH", "%L"),
    ("\\btime=\\{{EPOCH}\\}", "a time={%s}"),
    ("time={LEPOCH}", "a time=%L"),
    ("^TAI64N", "%t"),
    ("TAI64N", "%t"),
    ("%H:%M:%S\n%Y-%m-%d %H:%M:%S\n{^LN-BEG}", "%Y-%m-%d %H:%M:%S"),
    ("^[^\\[]*\\[({DATE})\n{^LN-BEG}", "x [%d/%n/%Y:%H:%M:%S%z]"),
    ("{^LN-BEG}EPOCH\n{^LN-BEG}", "[%s]"),
    ("%d/%m/%Y %H:%M:%S\n%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S"),
    ("(?P<Y>\\d+) (?P<m>\\w+) (?P<d>\\w+)", "%Y %m %d"),
    ("%Q", ""),
    ("%Y\n%Y", ""),
];

/// A token or more, and how a line has them.
type Part = (&'static str, &'static str);

const YEARS: &[Part] = &[("%ExY", "%Y"), ("%Y", "%Y"), ("%Exy", "%y"), ("%y", "%y")];
const MONTHS: &[Part] = &[("%m", "%m"), ("%Exm", "%m"), ("%b", "%n"), ("%B", "%N"), ("%b", "%n")];
const DAYS: &[Part] = &[("%d", "%d"), ("%d", "%e"), ("%Exd", "%d")];
const HOURS: &[Part] = &[("%H", "%H"), ("%k", "%k"), ("%ExH", "%H"), ("%Exk", "%k")];
const HALF_DAYS: &[Part] = &[("%I", "%I"), ("%l", "%I"), ("%Exl", "%I")];
const MINUTES: &[Part] = &[("%M", "%M"), ("%ExM", "%M")];
const SECONDS: &[Part] =
    &[("%S", "%S"), ("%ExS", "%S"), ("%S(?:[.,]%f)?", "%S%f"), ("%ExS(?:\\.%f)?", "%S%f")];
const ZONES: &[Part] = &[
    ("%z", "%Z"),
    ("%Z", "%Z"),
    ("%ExZ", "%Z"),
    ("%Exz", "%Z"),
    ("(?:\\s*%z)?", "%z"),
    ("(?: %Exz)?", "%z"),
];
const WEEKDAYS: &[Part] = &[("%a", "%w"), ("%A", "%W"), ("%w", "%u"), ("(?:%a,)?", "%w,")];
const WEEKS: &[Part] = &[("%U", "%U"), ("%W", "%U")];
const OTHERS: &[Part] = &[("%V", "%U"), ("%G", "%Y"), ("%u", "%u"), ("%%", "%%"), ("x", "x")];
const WHOLE: &[Part] =
    &[("%c", "%w %n %e %H:%M:%S %Y"), ("%x", "%m/%d/%y"), ("%x %X", "%m/%d/%y %H:%M:%S")];

/// Parts with a separator between them.
fn join(parts: &[Part], separator: &str) -> (String, String) {
    let column =
        |of: fn(&Part) -> &'static str| parts.iter().map(of).collect::<Vec<_>>().join(separator);
    (column(|part| part.0), column(|part| part.1))
}

/// The date alone.
fn day(rng: &mut Random) -> (String, String) {
    let [year, month, day] = [*rng.pick(YEARS), *rng.pick(MONTHS), *rng.pick(DAYS)];
    let separator = *rng.pick(&["-", "/", " ", ".", "", "  "]);
    match rng.below(14) {
        0 => join(&[month, day], separator),
        1 => join(&[day, month], separator),
        2 => join(&[("%j", "%j")], ""),
        3 => join(&[year, ("%j", "%j")], separator),
        4 => join(&[year, *rng.pick(WEEKS), *rng.pick(WEEKDAYS)], " "),
        5 => join(&[*rng.pick(WHOLE)], ""),
        6 => join(&[*rng.pick(WEEKDAYS), day, month, year], " "),
        7 => join(&[*rng.pick(OTHERS), year, month, day], separator),
        8 => join(&[year], ""),
        9 => join(&[day, month, year], separator),
        10 => join(&[month, day, year], separator),
        _ => join(&[year, month, day], separator),
    }
}

/// The time of day alone.
fn clock(rng: &mut Random) -> (String, String) {
    let [minute, second] = [*rng.pick(MINUTES), *rng.pick(SECONDS)];
    let separator = *rng.pick(&[":", ":", "", "."]);
    match rng.below(6) {
        0 => join(&[*rng.pick(HOURS), minute], separator),
        1 => {
            let (pattern, form) = join(&[*rng.pick(HALF_DAYS), minute, second], ":");
            (pattern + " %p", form + " %p")
        }
        2 => join(&[("%X", "%H:%M:%S")], ""),
        _ => join(&[*rng.pick(HOURS), minute, second], separator),
    }
}

/// A pattern of random tokens.
pub fn random(rng: &mut Random) -> (String, String) {
    let between = *rng.pick(&[" ", " ", "T", ":", "  ?"]);
    let written = if between == "  ?" { " " } else { between };
    let (day, clock) = (day(rng), clock(rng));
    let (mut pattern, mut form) = match rng.below(8) {
        0 => day,
        1 => clock,
        2 => (format!("{}{between}{}", clock.0, day.0), format!("{}{written}{}", clock.1, day.1)),
        _ => (format!("{}{between}{}", day.0, clock.0), format!("{}{written}{}", day.1, clock.1)),
    };
    if rng.one_in(3) {
        let zone = *rng.pick(ZONES);
        let blank = if zone.0.starts_with('(') { "" } else { " " };
        pattern = format!("{pattern}{blank}{}", zone.0);
        form = format!("{form}{blank}{}", zone.1);
    }
    let (before, after) = *rng.pick(&[
        ("", ""),
        ("", ""),
        ("", ""),
        ("^", ""),
        ("{^LN-BEG}", ""),
        ("{UNB}", ""),
        ("\\[", "\\]"),
        ("**", ""),
        ("^\\S* ?", ""),
        ("", "$"),
        ("(", ")"),
        ("at ", ""),
    ]);
    let written = match before {
        "\\[" => format!("[{form}]"),
        "at " => format!("at {form}"),
        _ => form,
    };
    (format!("{before}{pattern}{after}"), written)
}
