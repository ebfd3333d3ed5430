//! From an action's command text and a ticket to something that can be executed.
//!
//! Why three types: a command passes through `str` (as configured, full of tags), [`Prepared`]
//! (the action's own properties are in, tags that depend on a ticket are not) and [`Invocation`]
//! (complete; the only one that a shell may be given). Each can be made only from the one before,
//! so a command with open tags cannot be executed by mistake, and text of an attacker cannot be
//! taken for a tag: it enters in the last step, in one pass, as data.
//!
//! Must never run anything, and never insert a value into a script without [`escape::is_plain`].

pub mod escape;
mod facts;
mod invocation;
mod plain;
mod prepared;
mod tags;

pub use facts::{Facts, LookUp, NoLookUp, PastBans, raw_ticket};
pub use invocation::Invocation;
pub use prepared::{Prepared, RunFamily, TagError, prepare, prepare_text, property, timeout};
