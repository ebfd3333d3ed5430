//! The look-ups that tags may need, made by the worker that runs the command.
//!
//! Slow by nature (a name server, the database), so never called from the engine's thread, and only
//! when a tag needs it. One value per job: what was found is not kept.

use std::net::IpAddr;
use std::sync::Arc;

use sekisho_core::action::{LookUp, PastBans};
use sekisho_core::id::Id;

use crate::resolve;

/// Earlier bans of an id in a jail (`None`: in all), from the store.
pub type PastBansFn = Arc<dyn Fn(&Id, Option<&str>) -> Option<PastBans> + Send + Sync>;

/// Asks name servers and the store.
pub struct World {
    past_bans: PastBansFn,
}

impl World {
    /// With this way to the store.
    pub fn new(past_bans: PastBansFn) -> Self {
        Self { past_bans }
    }
}

impl LookUp for World {
    fn host_name(&mut self, ip: IpAddr) -> Option<String> {
        // Without a name the library answers with the address.
        resolve::name_of(ip).filter(|name| name.parse::<IpAddr>().is_err())
    }

    fn own_host_name(&mut self, with_domain: bool) -> String {
        let short = dns_lookup::get_hostname().unwrap_or_else(|_| "localhost".to_owned());
        if !with_domain || short.contains('.') {
            return short;
        }
        resolve::canonical_name(&short).filter(|name| name.contains('.')).unwrap_or(short)
    }

    fn past_bans(&mut self, id: &Id, jail: Option<&str>) -> Option<PastBans> {
        (self.past_bans)(id, jail)
    }
}
