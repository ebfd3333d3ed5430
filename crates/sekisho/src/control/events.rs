//! What happens, for programs that follow it (`sekisho events`): one JSON object per line.
//!
//! A program that reads slowly, or not at all, must neither hold up the server nor fill its memory.
//! Each follower has a queue of [`QUEUE`] lines; what does not fit is counted, and the count is told
//! in the place of what is missing.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use sekisho_core::effect::Happening;
use sekisho_core::id::Id;
use sekisho_core::time::{Timestamp, Zone};
use serde_json::{Value as Json, json};

/// Lines that wait for one follower.
pub const QUEUE: usize = 4096;

/// Everybody who follows.
#[derive(Debug, Default)]
pub struct Followers {
    list: Mutex<Vec<Queue>>,
    /// How many there are, to be asked without a lock: usually nobody.
    count: AtomicUsize,
}

#[derive(Debug)]
struct Queue {
    lines: Sender<Arc<str>>,
    missing: Arc<AtomicU64>,
}

/// One follower's end.
#[derive(Debug)]
pub struct Follower {
    /// Its lines; the channel ends with the server.
    pub lines: Receiver<Arc<str>>,
    /// Lines that did not fit and have not been told of.
    missing: Arc<AtomicU64>,
}

impl Followers {
    fn lock(&self) -> MutexGuard<'_, Vec<Queue>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more follower, who misses nothing from here on.
    pub fn add(&self) -> Follower {
        let (sender, lines) = bounded(QUEUE);
        let missing = Arc::new(AtomicU64::new(0));
        let mut list = self.lock();
        list.push(Queue { lines: sender, missing: Arc::clone(&missing) });
        self.count.store(list.len(), Ordering::Relaxed);
        Follower { lines, missing }
    }

    /// Tells everybody; the line is only made if there is somebody. Never blocks.
    pub fn tell(&self, line: impl FnOnce() -> String) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let line: Arc<str> = line().into();
        let mut list = self.lock();
        list.retain(|queue| queue.put(&line));
        self.count.store(list.len(), Ordering::Relaxed);
    }

    /// Nothing more will happen: who has read what waits for it is done.
    pub fn end(&self) {
        self.lock().clear();
        self.count.store(0, Ordering::Relaxed);
    }
}

impl Queue {
    /// Whether the follower is still there.
    fn put(&self, line: &Arc<str>) -> bool {
        // First what is missing before this line, so that the gap is where it was.
        let missing = self.missing.swap(0, Ordering::Relaxed);
        let sent = match missing {
            0 => Ok(()),
            _ => self.lines.try_send(dropped(missing).into()),
        };
        let sent = match sent {
            Ok(()) => self.lines.try_send(Arc::clone(line)).map_err(|error| (error, 1)),
            Err(error) => Err((error, missing.saturating_add(1))),
        };
        match sent {
            Ok(()) => true,
            Err((TrySendError::Full(_), missing)) => {
                self.missing.store(missing, Ordering::Relaxed);
                true
            }
            Err((TrySendError::Disconnected(_), _)) => false,
        }
    }
}

impl Follower {
    /// The last line, where the last ones did not fit.
    pub fn last(&self) -> Option<String> {
        let missing = self.missing.swap(0, Ordering::Relaxed);
        (missing > 0).then(|| dropped(missing))
    }
}

fn dropped(count: u64) -> String {
    object(&[("event", json!("dropped")), ("count", json!(count))])
}

/// The line for something that happened in a jail.
pub fn line(now: Timestamp, zone: &Zone, jail: &str, what: &Happening) -> String {
    let at = |time| json!(rfc3339(zone, time));
    let mut fields = vec![("time", at(now)), ("event", json!(name(what))), ("jail", json!(jail))];
    fields.extend(whom(what).map(|id| ("ip", json!(id.to_string()))));
    match what {
        Happening::Found(_, time) => fields.push(("failed", at(*time))),
        Happening::Ignored(_, rule) => fields.push(("by", json!(rule))),
        Happening::NotEnforced(_, reason) => fields.push(("reason", json!(reason))),
        Happening::Banned(ticket) | Happening::Prolonged(ticket) => fields.extend([
            ("since", at(ticket.time)),
            ("seconds", json!(ticket.ban_time.as_secs())),
            ("until", ticket.ban_time.end(ticket.time).map_or(Json::Null, at)),
            ("count", json!(ticket.ban_count)),
            ("failures", json!(ticket.failures)),
        ]),
        Happening::Started
        | Happening::Stopped
        | Happening::Unbanned(_)
        | Happening::Repealed(_) => {}
    }
    object(&fields)
}

/// A JSON object with its keys in this order: people read along.
fn object(fields: &[(&str, Json)]) -> String {
    let fields: Vec<String> =
        fields.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

fn name(what: &Happening) -> &'static str {
    match what {
        Happening::Started => "started",
        Happening::Stopped => "stopped",
        Happening::Found(..) => "found",
        Happening::Ignored(..) => "ignored",
        Happening::Banned(ticket) if ticket.restored => "restored",
        Happening::Banned(_) => "banned",
        Happening::Prolonged(_) => "prolonged",
        Happening::NotEnforced(..) => "not_enforced",
        Happening::Unbanned(_) => "unbanned",
        Happening::Repealed(_) => "repealed",
    }
}

fn whom(what: &Happening) -> Option<&Id> {
    match what {
        Happening::Started | Happening::Stopped => None,
        Happening::Found(id, _)
        | Happening::Ignored(id, _)
        | Happening::NotEnforced(id, _)
        | Happening::Unbanned(id)
        | Happening::Repealed(id) => Some(id),
        Happening::Banned(ticket) | Happening::Prolonged(ticket) => Some(&ticket.id),
    }
}

/// In microseconds where a calendar ends.
fn rfc3339(zone: &Zone, time: Timestamp) -> String {
    zone.rfc3339(time).unwrap_or_else(|| time.0.to_string())
}

#[cfg(test)]
mod tests {
    use sekisho_core::failure::Fields;
    use sekisho_core::ticket::{BanTime, Ticket};

    use super::*;

    fn text(n: usize) -> String {
        n.to_string()
    }

    #[test]
    fn a_slow_follower_is_told_how_much_it_has_missed() {
        let followers = Followers::default();
        followers.tell(|| panic!("nobody follows"));
        let slow = followers.add();
        let quick = followers.add();
        let mut seen = 0;
        for n in 0..QUEUE + 10 {
            followers.tell(|| text(n));
            seen += quick.lines.try_iter().count();
        }
        assert_eq!((seen, quick.last()), (QUEUE + 10, None));
        // One place is enough for the gap, and the next line is a gap again.
        assert_eq!(&*slow.lines.recv().unwrap(), "0");
        followers.tell(|| text(9));
        let lines: Vec<Arc<str>> = slow.lines.try_iter().collect();
        assert_eq!(&*lines[QUEUE - 2], text(QUEUE - 1));
        assert_eq!(&*lines[QUEUE - 1], r#"{"event":"dropped","count":10}"#);
        assert_eq!(lines.len(), QUEUE);
        followers.tell(|| text(7));
        let lines: Vec<Arc<str>> = slow.lines.try_iter().collect();
        assert_eq!(&*lines[0], r#"{"event":"dropped","count":1}"#);
        assert_eq!(&*lines[1], "7");
        drop(quick);
        followers.tell(|| text(1));
        assert_eq!(followers.count.load(Ordering::Relaxed), 1);
        for n in 0..QUEUE {
            followers.tell(|| text(n));
        }
        followers.end();
        assert_eq!(slow.lines.iter().count(), QUEUE);
        assert_eq!(slow.last().as_deref(), Some(r#"{"event":"dropped","count":1}"#));
        followers.tell(|| panic!("nobody follows"));
    }

    #[test]
    fn lines() {
        let id = || Id::parse("192.0.2.1");
        let time = Timestamp::from_secs(1_700_000_000);
        let ticket = Ticket {
            id: id(),
            address: None,
            time,
            whole: false,
            ban_time: BanTime::from_secs(600),
            ban_count: 2,
            failures: 5,
            matches: Vec::new(),
            fields: Fields::default(),
            restored: false,
        };
        let forever = Ticket { ban_time: BanTime::Permanent, restored: true, ..ticket.clone() };
        let now = Timestamp(1_700_000_001_500_000);
        for (what, expected) in [
            (Happening::Started, r#""event":"started","jail":"j""#),
            (
                Happening::Found(id(), time),
                r#""event":"found","jail":"j","ip":"192.0.2.1","failed":"2023-11-14T22:13:20+00:00""#,
            ),
            (
                Happening::Banned(Arc::new(ticket)),
                r#""event":"banned","jail":"j","ip":"192.0.2.1","since":"2023-11-14T22:13:20+00:00","seconds":600,"until":"2023-11-14T22:23:20+00:00","count":2,"failures":5"#,
            ),
            (
                Happening::Banned(Arc::new(forever)),
                r#""event":"restored","jail":"j","ip":"192.0.2.1","since":"2023-11-14T22:13:20+00:00","seconds":-1,"until":null,"count":2,"failures":5"#,
            ),
            (
                Happening::NotEnforced(id(), "no \"x\"\n".into()),
                r#""event":"not_enforced","jail":"j","ip":"192.0.2.1","reason":"no \"x\"\n""#,
            ),
            (
                Happening::Ignored(Id::Raw("a\"b".into()), "ip".into()),
                r#""event":"ignored","jail":"j","ip":"a\"b","by":"ip""#,
            ),
        ] {
            let got = line(now, &Zone::utc(), "j", &what);
            assert_eq!(got, format!("{{\"time\":\"2023-11-14T22:13:21.5+00:00\",{expected}}}"));
            assert!(serde_json::from_str::<Json>(&got).is_ok(), "{got}");
        }
    }
}
