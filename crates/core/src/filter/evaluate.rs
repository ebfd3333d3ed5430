//! The order in which a line meets the patterns.
//!
//! prefregex, then failregexes in order, each hit then checked against the ignoreregexes; few
//! ignoreregexes are checked first, against the whole line. Which text a pattern sees (the whole
//! line, the prefregex's content, the window) is decided here and nowhere else.

use crate::date::Stamp;
use crate::failure::{Fields, MatchedLine};
use crate::regex::Captures;
use crate::value::{Value, repr_str};

use super::connections::Merged;
use super::dating::{Dated, Warning};
use super::identify::{Identity, identifies, identity};
use super::pattern::{Pattern, is_empty};
use super::window::{self, WindowLine};
use super::{Filter, FilterOutput, Finding, FoundId, LineContext, Report};

/// Lines one finding may carry.
const MAX_MATCHES: usize = 200;

impl Filter {
    /// Judges a line whose date is known.
    pub(super) fn evaluate(
        &mut self,
        ctx: &LineContext<'_>,
        dated: &Dated<'_>,
        out: &mut Vec<FilterOutput>,
    ) {
        let mut text = std::mem::take(&mut self.buffer);
        text.clear();
        let multi = self.spec.maxlines > 1;
        if multi {
            let cut = &dated.cut;
            let parts = [cut.before.to_owned(), cut.date.to_string(), cut.after.to_owned()];
            self.window.push(WindowLine { parts });
            let surplus = self.window.len().saturating_sub(self.spec.maxlines);
            self.window.drain(..surplus);
            text.push_str(&window::join(&self.window));
        } else {
            text.push_str(dated.cut.before);
            text.push_str(dated.cut.after);
            text.push('\n');
        }
        self.match_text(ctx, dated, &mut text, out);
        self.buffer = text;
    }

    fn match_text(
        &mut self,
        ctx: &LineContext<'_>,
        dated: &Dated<'_>,
        text: &mut String,
        out: &mut Vec<FilterOutput>,
    ) {
        // Before the prefregex, which has no word of its own more often than not; what it cuts out
        // is a part of this text. A report counts the prefregex's matches, for which no groups are needed.
        if ctx.report < Report::Groups
            && !self.fail.iter().any(|pattern| pattern.might_match(text))
            && (ctx.report == Report::Nothing || self.ignore.is_empty())
        {
            let counted = |prefix: &Pattern| ctx.report == Report::Matches && prefix.is_match(text);
            if self.prefix.as_ref().is_some_and(counted) {
                out.push(FilterOutput::Prefix(Fields::default()));
            }
            return;
        }
        let multi = self.spec.maxlines > 1;
        let few_ignores =
            !self.ignore.is_empty() && self.ignore.len().saturating_add(2) < self.fail.len();
        if few_ignores && self.ignored(ctx, text, out) {
            return;
        }

        let mut base = Fields::default();
        // Lines as they were read; a prefregex's content replaces what is searched, not these.
        let mut lines = if multi { self.window.clone() } else { Vec::new() };
        if let Some(prefix) = &self.prefix {
            let Some(found) = search(prefix, text, &mut self.dating, ctx, out) else { return };
            base = prefix.groups(text, &found);
            if ctx.report > Report::Nothing {
                out.push(FilterOutput::Prefix(base.clone()));
            }
            if let Some(Value::Str(content)) = base.remove("content").filter(|c| !is_empty(c)) {
                *text = content;
                if multi {
                    let parts = [String::new(), String::new(), text.clone()];
                    self.window = vec![WindowLine { parts }];
                }
                text.push('\n');
            }
        }

        for index in 0..self.fail.len() {
            let Some(pattern) = self.fail.get(index) else { break };
            let Some(found) = search(pattern, text, &mut self.dating, ctx, out) else { continue };
            let mut fields = base.clone();
            for (name, value) in pattern.groups(text, &found).iter() {
                // Groups that did not match are shown, unless they came after a prefregex's.
                if *value != Value::None || base.is_empty() {
                    fields.set(name, value.clone());
                }
            }
            let mut matched = Vec::new();
            let mut rest = Vec::new();
            if multi {
                let span = found.get(0).unwrap_or(0..0);
                let split = window::split(&lines, text, span, &pattern.skipped(&found));
                (matched, rest) = (split.matched, split.rest);
            }
            if !self.ignore.is_empty() {
                let seen = if multi { &window::join(&matched) } else { &*text };
                if self.ignored(ctx, seen, out) {
                    if multi {
                        *text = window::join(&rest);
                        lines.clone_from(&rest);
                        self.window = rest;
                    }
                    if !ctx.check_all {
                        break;
                    }
                    continue;
                }
            }
            let matched =
                if multi { window::matched_lines(&matched) } else { vec![dated.cut.matched()] };
            if dated.assumed {
                self.warn_undated(ctx, dated, &matched, out);
            }
            // Where the clock judges, a failure without a time cannot be counted.
            if dated.time.is_none() && ctx.findtime.is_some() {
                continue;
            }
            if multi {
                *text = window::join(&rest);
                lines.clone_from(&rest);
                self.window = rest;
            }
            self.conclude(ctx, index, dated, fields, matched, out);
            if !ctx.check_all {
                break;
            }
        }
    }

    /// Makes a finding of a match, or remembers it for its connection.
    fn conclude(
        &mut self,
        ctx: &LineContext<'_>,
        regex: usize,
        dated: &Dated<'_>,
        mut fields: Fields,
        mut matches: Vec<MatchedLine>,
        out: &mut Vec<FilterOutput>,
    ) {
        let usedns = self.spec.usedns;
        let connection = fields.text("mlfid").filter(|key| !key.is_empty()).map(str::to_owned);
        let mut nofail = fields.get("nofail").is_some_and(|v| !is_empty(v));
        if let Some(key) = &connection {
            let waits = |fields: &Fields, nofail: bool| {
                (ctx.check_all || !nofail) && !identifies(fields, usedns)
            };
            let Merged { fields: f, lines, nofail: n } =
                self.connections.merge(key, fields, &matches, ctx.now, waits);
            (fields, matches, nofail) = (f, lines, n);
        }
        if nofail && connection.is_some() && !ctx.check_all {
            return;
        }
        matches.truncate(MAX_MATCHES);
        let time = dated.time.unwrap_or(ctx.now);
        // A failure is never in the future, or it would outlive its ban.
        let (time, stamp) = match ctx.findtime {
            Some(_) if time > ctx.now => (ctx.now, Stamp::Local),
            _ => (time, dated.stamp),
        };
        let mut finding = Finding {
            id: FoundId::Unknown,
            address: None,
            time,
            stamp,
            attempts: 1,
            matches,
            fields,
            regex,
            nofail,
        };
        match identity(&finding.fields, usedns) {
            Some(Identity { id, address }) => (finding.id, finding.address) = (id, address),
            // Without a connection no later line can tell whom it is about.
            None if connection.is_none() || ctx.report == Report::Nothing => return,
            None => {
                out.push(FilterOutput::Quiet(finding));
                return;
            }
        }
        if let Some(address) = &finding.address {
            let text = Value::Str(address.to_string());
            finding.fields.set("ip", text);
        }
        // Without a connection, "no failure" has no meaning for those who count.
        out.push(if nofail && ctx.report > Report::Nothing {
            FilterOutput::Quiet(finding)
        } else {
            FilterOutput::Finding(finding)
        });
    }

    /// Whether an ignoreregex matches; all that do are reported when all are checked.
    fn ignored(&mut self, ctx: &LineContext<'_>, text: &str, out: &mut Vec<FilterOutput>) -> bool {
        let mut any = false;
        for (index, pattern) in self.ignore.iter().enumerate() {
            if search(pattern, text, &mut self.dating, ctx, out).is_some() {
                any = true;
                if ctx.report > Report::Nothing {
                    out.push(FilterOutput::Ignored(index));
                }
                if !ctx.check_all {
                    break;
                }
            }
        }
        any
    }

    fn warn_undated(
        &mut self,
        ctx: &LineContext<'_>,
        dated: &Dated<'_>,
        matched: &[MatchedLine],
        out: &mut Vec<FilterOutput>,
    ) {
        self.dating.warn(Warning::NoDate, ctx, out, || {
            let lines: Vec<String> = matched.iter().map(MatchedLine::text).collect();
            vec![
                format!(
                    "Found a match but no valid date/time found for {}.",
                    repr_str(&dated.cut.date)
                ),
                format!("Match without a timestamp: {}", lines.join("\n")),
                "Please try setting a custom date pattern (see man page jail.conf(5)).".into(),
            ]
        });
    }
}

/// Searches; a pattern that needs too many steps on this line does not match, and is reported.
fn search(
    pattern: &Pattern,
    text: &str,
    dating: &mut super::Dating,
    ctx: &LineContext<'_>,
    out: &mut Vec<FilterOutput>,
) -> Option<Captures> {
    match pattern.search(text) {
        Ok(found) => found,
        Err(_) => {
            dating.warn(Warning::TooManySteps, ctx, out, || {
                vec![
                    format!(
                        "A pattern needs too many steps on a line and was given up there; \
                         please simplify it: {}",
                        pattern.raw()
                    ),
                    format!("Line that was not matched: {}", text.trim_end_matches('\n')),
                ]
            });
            None
        }
    }
}
