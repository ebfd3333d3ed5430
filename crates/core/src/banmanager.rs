//! Who is banned in one jail, and until when.
//!
//! Pure bookkeeping: it knows nothing of actions, stores or logs (what the engine must remember of
//! a ban's enforcement rides along as `S`), so it can be checked against a naive model. A ban ends
//! `bantime` after its last failure; bans without a time of their own follow the jail's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::id::Id;
use crate::ticket::{BanTime, Ticket};
use crate::time::{Span, Timestamp};

/// One ban.
#[derive(Clone, Debug)]
pub struct Ban<S> {
    /// Distinguishes this ban from earlier and later ones of the same id; grows with time.
    pub serial: u64,
    /// What is known of it, as of now.
    pub ticket: Arc<Ticket>,
    /// Whether the ban time is its own and no longer follows the jail's.
    pub own_time: bool,
    /// What the engine remembers of its enforcement.
    pub state: S,
}

impl<S> Ban<S> {
    /// When it ends; `None` for never.
    pub fn end(&self) -> Option<Timestamp> {
        self.ticket.ban_time.end(self.ticket.time)
    }
}

/// What came of a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// A new ban.
    New,
    /// Its ban would already be over.
    Expired,
    /// It was banned already, since a ticket of this time; `prolonged` if its end moved.
    Already {
        /// The earlier ticket's time.
        since: Timestamp,
        /// Whether the new ticket ends later.
        prolonged: bool,
    },
}

/// All bans of one jail.
#[derive(Clone, Debug)]
pub struct BanManager<S> {
    bans: BTreeMap<Id, Ban<S>>,
    ends: BTreeSet<(Timestamp, Id)>,
    total: u64,
    next_serial: u64,
}

impl<S> Default for BanManager<S> {
    fn default() -> Self {
        Self { bans: BTreeMap::new(), ends: BTreeSet::new(), total: 0, next_serial: 1 }
    }
}

/// Whether a ban ends later than another; `None` is never.
pub(crate) fn is_later(end: Option<Timestamp>, than: Option<Timestamp>) -> bool {
    match (end, than) {
        (None, Some(_)) => true,
        (Some(end), Some(than)) => end > than,
        (_, None) => false,
    }
}

impl<S: Default> BanManager<S> {
    /// Adds a ticket whose ban time is filled in; `own_time` if that is not the jail's.
    /// A new ban counts one more in its `ban_count`.
    pub fn add(&mut self, mut ticket: Ticket, own_time: bool, now: Timestamp) -> Added {
        let end = ticket.ban_time.end(ticket.time);
        if end.is_some_and(|end| end < now) {
            return Added::Expired;
        }
        if let Some(old) = self.bans.get(&ticket.id) {
            let (since, old_end) = (old.ticket.time, old.end());
            let later = is_later(end, old_end);
            if later {
                // Counted from the first ticket on; a ticket from before it takes nothing away.
                let time = match ticket.ban_time {
                    BanTime::Permanent => BanTime::Permanent,
                    BanTime::For(span) => {
                        let passed = ticket.time.since(since).max(Span(0));
                        BanTime::For(Span(span.0.saturating_add(passed.0)))
                    }
                };
                self.set_time(&ticket.id, time);
            }
            return Added::Already { since, prolonged: later };
        }
        ticket.ban_count = ticket.ban_count.saturating_add(1);
        let id = ticket.id.clone();
        if let Some(end) = end {
            self.ends.insert((end, id.clone()));
        }
        let serial = self.next_serial;
        self.next_serial += 1;
        self.total += 1;
        let ban = Ban { serial, ticket: Arc::new(ticket), own_time, state: S::default() };
        self.bans.insert(id, ban);
        Added::New
    }
}

impl<S> BanManager<S> {
    /// Gives a ban a time of its own, counted from its ticket's time.
    pub fn set_time(&mut self, id: &Id, time: BanTime) -> Option<&mut Ban<S>> {
        let ban = self.bans.get_mut(id)?;
        if let Some(end) = ban.end() {
            self.ends.remove(&(end, id.clone()));
        }
        Arc::make_mut(&mut ban.ticket).ban_time = time;
        ban.own_time = true;
        if let Some(end) = ban.end() {
            self.ends.insert((end, id.clone()));
        }
        Some(ban)
    }

    /// The jail's ban time has changed: bans without one of their own follow.
    pub fn set_default_time(&mut self, time: BanTime) {
        for ban in self.bans.values_mut().filter(|b| !b.own_time) {
            Arc::make_mut(&mut ban.ticket).ban_time = time;
        }
        self.ends = self
            .bans
            .iter()
            .filter_map(|(id, ban)| ban.end().map(|end| (end, id.clone())))
            .collect();
    }

    /// Takes away the bans that are over, at most `max`, the earliest first.
    pub fn take_ended(&mut self, now: Timestamp, max: usize) -> Vec<Ban<S>> {
        let mut out = Vec::new();
        while out.len() < max {
            let Some((end, _)) = self.ends.first() else { break };
            if *end >= now {
                break;
            }
            let Some((_, id)) = self.ends.pop_first() else { break };
            let ban = self.bans.remove(&id);
            debug_assert!(ban.is_some(), "an end without a ban");
            out.extend(ban);
        }
        out
    }

    /// Takes one ban away.
    pub fn take(&mut self, id: &Id) -> Option<Ban<S>> {
        let ban = self.bans.remove(id)?;
        if let Some(end) = ban.end() {
            self.ends.remove(&(end, id.clone()));
        }
        Some(ban)
    }

    /// Takes all bans away, in the order they were made.
    pub fn take_all(&mut self) -> Vec<Ban<S>> {
        self.ends.clear();
        let mut all: Vec<Ban<S>> = std::mem::take(&mut self.bans).into_values().collect();
        all.sort_by_key(|ban| ban.serial);
        all
    }

    /// When the next ban ends.
    pub fn next_end(&self) -> Option<Timestamp> {
        self.ends.first().map(|(end, _)| *end)
    }
    /// The ban of an id.
    pub fn get(&self, id: &Id) -> Option<&Ban<S>> {
        self.bans.get(id)
    }
    /// The ban of an id, to change its state.
    pub fn get_mut(&mut self, id: &Id) -> Option<&mut Ban<S>> {
        self.bans.get_mut(id)
    }
    /// All bans, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Ban<S>> {
        self.bans.values()
    }
    /// All bans, by id, to change their state.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Ban<S>> {
        self.bans.values_mut()
    }
    /// All bans in the order they were made.
    pub fn in_order(&self) -> Vec<&Ban<S>> {
        let mut all: Vec<&Ban<S>> = self.bans.values().collect();
        all.sort_by_key(|ban| ban.serial);
        all
    }
    /// All bans, the one that ends first first.
    pub fn by_end(&self) -> Vec<&Ban<S>> {
        let mut all: Vec<&Ban<S>> = self.bans.values().collect();
        all.sort_by_key(|ban| (ban.end().unwrap_or(Timestamp(i64::MAX)), ban.serial));
        all
    }
    /// Number of bans.
    pub fn len(&self) -> usize {
        self.bans.len()
    }
    /// Whether nobody is banned.
    pub fn is_empty(&self) -> bool {
        self.bans.is_empty()
    }
    /// Bans since the start.
    pub fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ticket(n: u8, time: i64, ban_time: i64) -> Ticket {
        Ticket {
            id: Id::Raw(format!("id{n}")),
            address: None,
            time: Timestamp::from_secs(time),
            whole: false,
            ban_time: BanTime::from_secs(ban_time),
            ban_count: 0,
            failures: 1,
            matches: vec![],
            fields: Default::default(),
            restored: false,
        }
    }

    /// The naive model: a list, searched and filtered.
    #[derive(Default)]
    struct Model(Vec<(u8, i64, i64, bool)>);

    fn end(time: i64, ban: i64) -> i64 {
        if ban < 0 { i64::MAX } else { time + ban }
    }

    #[derive(Clone, Debug)]
    enum Op {
        Add(u8, i64, Option<i64>),
        Take(u8),
        Default(i64),
        Step(i64),
        Own(u8, i64),
    }

    fn op() -> impl Strategy<Value = Op> {
        let time = prop_oneof![Just(-1_i64), 0_i64..40];
        prop_oneof![
            4 => (0_u8..6, 0_i64..10, prop::option::of(time.clone()))
                .prop_map(|(n, age, own)| Op::Add(n, age, own)),
            1 => (0_u8..6).prop_map(Op::Take),
            1 => time.clone().prop_map(Op::Default),
            3 => (-5_i64..30).prop_map(Op::Step),
            1 => (0_u8..6, time).prop_map(|(n, t)| Op::Own(n, t)),
        ]
    }

    proptest! {
        #[test]
        fn behaves_like_the_naive_model(ops in prop::collection::vec(op(), 1..60)) {
            let (mut real, mut model) = (BanManager::<()>::default(), Model::default());
            let (mut now, mut default) = (1000_i64, 20_i64);
            for op in ops {
                match op {
                    Op::Add(n, age, own) => {
                        let (time, ban) = (now - age, own.unwrap_or(default));
                        let got =
                            real.add(ticket(n, time, ban), own.is_some(), Timestamp::from_secs(now));
                        let expected = if end(time, ban) < now {
                            Added::Expired
                        } else if let Some(old) = model.0.iter_mut().find(|b| b.0 == n) {
                            let since = Timestamp::from_secs(old.1);
                            let prolonged = end(time, ban) > end(old.1, old.2);
                            if prolonged {
                                old.2 = if ban < 0 { -1 } else { ban + (time - old.1).max(0) };
                                old.3 = true;
                            }
                            Added::Already { since, prolonged }
                        } else {
                            model.0.push((n, time, ban, own.is_some()));
                            Added::New
                        };
                        prop_assert_eq!(got, expected);
                    }
                    Op::Take(n) => {
                        let before = model.0.len();
                        model.0.retain(|b| b.0 != n);
                        let got = real.take(&Id::Raw(format!("id{n}"))).is_some();
                        prop_assert_eq!(got, model.0.len() < before);
                    }
                    Op::Default(t) => {
                        default = t;
                        real.set_default_time(BanTime::from_secs(t));
                        for ban in model.0.iter_mut().filter(|b| !b.3) {
                            ban.2 = t;
                        }
                    }
                    Op::Own(n, t) => {
                        real.set_time(&Id::Raw(format!("id{n}")), BanTime::from_secs(t));
                        for ban in model.0.iter_mut().filter(|b| b.0 == n) {
                            (ban.2, ban.3) = (t, true);
                        }
                    }
                    Op::Step(by) => {
                        now += by;
                        let mut gone: Vec<Id> = real
                            .take_ended(Timestamp::from_secs(now), usize::MAX)
                            .into_iter()
                            .map(|b| b.ticket.id.clone())
                            .collect();
                        gone.sort();
                        let mut expected: Vec<Id> = model
                            .0
                            .iter()
                            .filter(|b| end(b.1, b.2) < now)
                            .map(|b| Id::Raw(format!("id{}", b.0)))
                            .collect();
                        expected.sort();
                        model.0.retain(|b| end(b.1, b.2) >= now);
                        prop_assert_eq!(gone, expected);
                    }
                }
                let mut left: Vec<(Id, Option<Timestamp>)> =
                    real.iter().map(|b| (b.ticket.id.clone(), b.end())).collect();
                left.sort();
                let mut expected: Vec<(Id, Option<Timestamp>)> = model
                    .0
                    .iter()
                    .map(|b| {
                        let ends = (b.2 >= 0).then(|| Timestamp::from_secs(b.1 + b.2));
                        (Id::Raw(format!("id{}", b.0)), ends)
                    })
                    .collect();
                expected.sort();
                prop_assert_eq!(&left, &expected);
                prop_assert_eq!(real.next_end(), expected.iter().filter_map(|b| b.1).min());
            }
        }
    }

    #[test]
    fn a_later_end_extends_from_the_first_ticket() {
        let mut bans = BanManager::<()>::default();
        let now = Timestamp::from_secs(100);
        assert_eq!(bans.add(ticket(1, 100, 60), false, now), Added::New);
        let again = bans.add(ticket(1, 130, 60), false, Timestamp::from_secs(130));
        assert_eq!(again, Added::Already { since: now, prolonged: true });
        let ban = bans.get(&Id::Raw("id1".into())).unwrap();
        assert_eq!(ban.ticket.ban_time, BanTime::For(Span::from_secs(90)));
        assert_eq!((ban.ticket.ban_count, bans.total()), (1, 1));
        // A ticket from before the first does not shorten what it adds.
        bans.add(ticket(1, 90, 200), true, Timestamp::from_secs(130));
        let ban = bans.get(&Id::Raw("id1".into())).unwrap();
        assert_eq!(ban.ticket.ban_time, BanTime::For(Span::from_secs(200)));
    }
}
