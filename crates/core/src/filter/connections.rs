//! What is remembered of a connection (`<F-MLFID>`) between its lines.
//!
//! A line that knows the user, one that knows the address and one that says "failed" become one
//! failure. The memory is bounded: 100 connections, five minutes each, and a bounded number of
//! lines per connection, so a peer that never ends its connection costs a fixed amount.

use std::collections::{HashMap, VecDeque};

use crate::failure::{Fields, MatchedLine};
use crate::time::{Span, Timestamp};
use crate::value::Value;

use super::pattern::is_empty;

/// Connections remembered at most; the oldest is forgotten first.
const MAX_CONNECTIONS: usize = 100;
/// How long one is remembered.
const LIFETIME: Span = Span::from_secs(5 * 60);
/// Lines kept per connection and kind; later ones are not added.
const MAX_LINES: usize = 100;
/// Users kept per connection; a second one already decides.
const MAX_USERS: usize = 100;

/// One remembered connection.
#[derive(Clone, Debug, Default)]
struct Connection {
    since: Timestamp,
    fields: Fields,
    /// Lines that were no failures, waiting for one.
    quiet_lines: Vec<MatchedLine>,
    /// Lines of failures; still to be delivered while `pending`.
    lines: Vec<MatchedLine>,
    /// A failure waits for its address.
    pending: bool,
    /// The last line was no failure.
    was_quiet: bool,
}

/// What one line means for its connection.
pub(super) struct Merged {
    /// Everything known of the connection.
    pub fields: Fields,
    /// The lines to deliver, this one included where it belongs to the failure.
    pub lines: Vec<MatchedLine>,
    /// Not a failure (yet).
    pub nofail: bool,
}

/// The connections of one filter.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections {
    known: HashMap<String, Connection>,
    /// Keys, oldest first.
    order: VecDeque<String>,
}

impl Connections {
    /// Merges the groups of a match into what is known of connection `key`.
    ///
    /// `waits` tells of fields, and of whether they are no failure, that a later line of the
    /// connection is needed to say whom to ban.
    pub fn merge(
        &mut self,
        key: &str,
        mut new: Fields,
        matched: &[MatchedLine],
        now: Timestamp,
        waits: impl Fn(&Fields, bool) -> bool,
    ) -> Merged {
        let flag = |name: &str| new.get(name).is_some_and(|v| !is_empty(v));
        let mut gained = flag("mlfgained");
        let mut nofail = gained || flag("nofail");
        let forget = flag("mlfforget");
        if gained && !flag("nofail") {
            let reason = new.get("mlfgained").cloned().unwrap_or(Value::None);
            new.set("nofail", reason);
        }
        new.remove("mlfforget");
        let user = new.get("user").filter(|v| !is_empty(v)).cloned();

        let known = self.take(key, now);
        let was_known = known.is_some();
        let mut conn = known.unwrap_or_else(|| Connection { since: now, ..Connection::default() });
        let mut users_tried = 0;
        if was_known {
            users_tried = add_user(&mut conn.fields, user);
            conn.fields.remove("nofail");
            conn.fields.remove("mlfgained");
            let was_quiet = std::mem::take(&mut conn.was_quiet);
            if gained {
                conn.pending = false;
            }
            // Lines of a failure that was delivered are not delivered again.
            if !was_quiet && !conn.pending {
                conn.lines.clear();
            }
            for (name, value) in new.iter().filter(|(_, v)| **v != Value::None) {
                conn.fields.set(name, value.clone());
            }
        } else {
            conn.fields = new;
            if !forget {
                users_tried = add_user(&mut conn.fields, user);
            }
        }

        // A pending failure, or a second user, makes a failure of whatever comes.
        if std::mem::take(&mut conn.pending) || users_tried > 1 {
            conn.fields.remove("nofail");
            conn.fields.remove("mlfgained");
            gained = false;
            nofail = false;
        }
        if !nofail {
            let mut lines = std::mem::take(&mut conn.quiet_lines);
            lines.append(&mut conn.lines);
            if !gained {
                lines.extend_from_slice(matched);
            }
            lines.truncate(MAX_LINES);
            conn.lines = lines;
        } else if !forget && conn.quiet_lines.len() < MAX_LINES {
            conn.quiet_lines.extend_from_slice(matched);
        }
        conn.was_quiet = nofail;

        let merged = Merged { fields: conn.fields.clone(), lines: conn.lines.clone(), nofail };
        if waits(&conn.fields, nofail) {
            conn.pending = true;
        }
        if !forget {
            self.put(key, conn, was_known);
        }
        merged
    }

    /// Takes the entry out; an expired one is gone.
    fn take(&mut self, key: &str, now: Timestamp) -> Option<Connection> {
        let conn = self.known.remove(key)?;
        if now.since(conn.since) <= LIFETIME {
            return Some(conn);
        }
        self.order.retain(|k| k != key);
        None
    }

    fn put(&mut self, key: &str, conn: Connection, in_order: bool) {
        if !in_order {
            // An entry that was forgotten by `mlfforget` left its key behind.
            self.order.retain(|k| k != key);
            while self.order.len() >= MAX_CONNECTIONS {
                if let Some(oldest) = self.order.pop_front() {
                    self.known.remove(&oldest);
                }
            }
            self.order.push_back(key.to_owned());
        }
        self.known.insert(key.to_owned(), conn);
    }
}

/// Adds a user to the set of those tried; returns how many there are.
fn add_user(fields: &mut Fields, user: Option<Value>) -> usize {
    let mut users = match fields.get("users") {
        Some(Value::Set(users)) => users.clone(),
        _ => Vec::new(),
    };
    if let Some(user) = user {
        if !users.contains(&user) && users.len() < MAX_USERS {
            users.push(user);
        }
        fields.set("users", Value::Set(users.clone()));
    }
    users.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded() {
        let mut all = Connections::default();
        let line = [MatchedLine::Whole("x".into())];
        for i in 0..10_000 {
            let mut fields = Fields::default();
            fields.set("user", Value::str(i.to_string()));
            let key = format!("c{}", i % 150);
            let now = Timestamp::from_secs(i / 10);
            all.merge(&key, fields, &line, now, |_, _| i % 2 == 0);
            assert!(all.known.len() <= MAX_CONNECTIONS && all.order.len() <= MAX_CONNECTIONS);
        }
        assert!(all.known.values().all(|c| c.lines.len() <= MAX_LINES));
    }
}
