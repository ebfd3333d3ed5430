//! The one file of the project that reads clocks and the local zone.
//!
//! Everything else gets time as an argument, so a simulator, a replay and the server share one
//! engine. Must never be called from `sekisho-core` or `sekisho-config`.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use sekisho_core::time::{Monotonic, Now, Timestamp, Zone};

/// Both clocks, read together. A wall clock before 1970 reads as 1970.
#[expect(clippy::disallowed_methods, reason = "the one place where clocks are read")]
pub fn now() -> Now {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = *START.get_or_init(Instant::now);
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now {
        wall: Timestamp(i64::try_from(wall.as_micros()).unwrap_or(i64::MAX)),
        mono: Monotonic(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)),
    }
}

/// The machine's zone (`TZ`, else `/etc/localtime`), UTC where there is none.
#[expect(clippy::disallowed_methods, reason = "the one place where the zone is read")]
pub fn zone() -> Zone {
    Zone(jiff::tz::TimeZone::system())
}
