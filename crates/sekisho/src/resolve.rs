//! Answers what the engine cannot know: names, own addresses, `ignorecommand`, `ignoreip` files.
//!
//! Every answer is sought on a worker thread, because a name server or a script may never answer.
//! Nothing here may delay a ban: when a queue is full the question is answered with an error at
//! once. Every question is answered exactly once.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use sekisho_core::effect::{Answer, Ask, AskId, Event, FileStamp};
use sekisho_core::id::canonical;
use sekisho_core::ticket::Ticket;

use crate::origins::NameServers;

/// Questions that may wait per queue; the next one is answered with an error.
const QUEUE_MAX: usize = 1024;
/// Name look-ups under way at once; hostile names must not occupy all of them for long, and each
/// is bounded by the C library's own time limit.
const NAME_WORKERS: usize = 6;
/// Commands for `status cymru` that may wait; each takes a minute at most.
const ORIGINS_MAX: usize = 16;
/// `ignorecommand`s under way at once.
const COMMAND_WORKERS: usize = 4;
/// An `ignoreip` file is read up to this size (bytes).
const IGNORE_FILE_MAX: u64 = 16 << 20;

/// Runs an `ignorecommand` for a ticket of a jail: its exit status.
pub type CommandFn = Arc<dyn Fn(&str, &str, &Arc<Ticket>) -> Result<i32, String> + Send + Sync>;

/// The workers; they end when this is dropped.
pub struct Resolver {
    names: Sender<(AskId, Ask)>,
    commands: Sender<(AskId, Ask)>,
    origins: Sender<(AskId, Ask)>,
    events: Sender<Event>,
}

impl Resolver {
    /// Starts the workers. Answers go to `events`; `ipv6` says whether names may have AAAA answers.
    pub fn start(events: Sender<Event>, ipv6: bool, run: CommandFn) -> std::io::Result<Resolver> {
        let (names, name_queue) = bounded(QUEUE_MAX);
        let (commands, command_queue) = bounded(QUEUE_MAX);
        let (origins, origin_queue) = bounded(ORIGINS_MAX);
        for _ in 0..NAME_WORKERS {
            spawn("resolver", &name_queue, &events, move |ask| answer_name(ask, ipv6))?;
        }
        for _ in 0..COMMAND_WORKERS {
            let run = Arc::clone(&run);
            spawn("ignorecommand", &command_queue, &events, move |ask| answer_command(ask, &run))?;
        }
        spawn("origins", &origin_queue, &events, answer_origins)?;
        Ok(Resolver { names, commands, origins, events })
    }

    /// Seeks the answer to `ask`; what this module does not know is answered with an error.
    pub fn ask(&self, id: AskId, ask: Ask) {
        let queue = match ask {
            Ask::IgnoreCommand { .. } => &self.commands,
            Ask::Origins(_) => &self.origins,
            _ => &self.names,
        };
        if let Err(refused) = queue.try_send((id, ask)) {
            let (id, ask) = refused.into_inner();
            let why = "too many look-ups are waiting; this one was not made".to_owned();
            // The engine's queue is unbounded on this side: it only ever holds one answer a question.
            let _ = self.events.send(Event::Answer(id, refusal(&ask, why)));
        }
    }
}

fn spawn(
    name: &str,
    queue: &Receiver<(AskId, Ask)>,
    events: &Sender<Event>,
    answer: impl Fn(Ask) -> Answer + Send + 'static,
) -> std::io::Result<()> {
    let (queue, events) = (queue.clone(), events.clone());
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        for (id, ask) in queue {
            if events.send(Event::Answer(id, answer(ask))).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}

fn refusal(ask: &Ask, why: String) -> Answer {
    match ask {
        Ask::IgnoreCommand { .. } => Answer::Exit(Err(why)),
        Ask::IgnoreFile { .. } => Answer::File(Err(why)),
        Ask::Origins(_) => Answer::Origins(Vec::new(), Some(why)),
        _ => Answer::Addresses(Err(why)),
    }
}

fn answer_name(ask: Ask, ipv6: bool) -> Answer {
    match ask {
        Ask::Resolve(name) => Answer::Addresses(addresses_of(&name, ipv6)),
        Ask::OwnAddresses => Answer::Addresses(Ok(own_addresses())),
        Ask::IgnoreFile { path, seen } => Answer::File(ignore_file(&path, seen)),
        other => refusal(&other, "this is not a question for the resolver".into()),
    }
}

fn answer_command(ask: Ask, run: &CommandFn) -> Answer {
    match ask {
        Ask::IgnoreCommand { jail, command, ticket } => Answer::Exit(run(&jail, &command, &ticket)),
        other => refusal(&other, "this is not a command".into()),
    }
}

fn answer_origins(ask: Ask) -> Answer {
    match ask {
        Ask::Origins(ids) => {
            let (origins, trouble) = NameServers::of_this_machine().origins(&ids);
            Answer::Origins(origins, trouble)
        }
        other => refusal(&other, "this is not about origins".into()),
    }
}

/// All addresses of a host name, each once, in order; IPv6 ones only if allowed.
pub fn addresses_of(name: &str, ipv6: bool) -> Result<Vec<IpAddr>, String> {
    let found = dns_lookup::lookup_host(name).map_err(refusal_of)?;
    let unique: BTreeSet<IpAddr> = found.map(canonical).filter(|ip| ipv6 || ip.is_ipv4()).collect();
    Ok(unique.into_iter().collect())
}

/// Why a name has no address, with the C library's number and words, as Python prints them.
fn refusal_of(error: dns_lookup::LookupError) -> String {
    let number = error.error_num();
    let text = std::io::Error::from(error).to_string();
    let text = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
    format!("[Errno {number}] {text}")
}

/// The name of an address (`<ip-host>`), if it has one.
pub fn name_of(ip: IpAddr) -> Option<String> {
    dns_lookup::lookup_addr(&ip).ok()
}

/// This machine's addresses: of its interfaces, and what its own names resolve to.
fn own_addresses() -> Vec<IpAddr> {
    let mut own: BTreeSet<IpAddr> = if_addrs::get_if_addrs()
        .unwrap_or_default()
        .into_iter()
        .map(|interface| canonical(interface.ip()))
        .collect();
    for name in ["localhost".to_owned(), host_name(), full_host_name()] {
        own.extend(addresses_of(&name, true).unwrap_or_default());
    }
    own.into_iter().collect()
}

/// The machine's short name (`<sh-hostname>` without its domain is up to the caller).
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The machine's full name (`<fq-hostname>`), its short name where no domain is known.
pub fn full_host_name() -> String {
    let short = host_name();
    canonical_name(&short).unwrap_or(short)
}

/// What the C library takes for the full name of a host.
pub fn canonical_name(host: &str) -> Option<String> {
    /// `AI_CANONNAME` of `<netdb.h>`, the same number on Linux, BSD and macOS.
    const AI_CANONNAME: i32 = 2;
    let hints = dns_lookup::AddrInfoHints { flags: AI_CANONNAME, ..Default::default() };
    let found = dns_lookup::getaddrinfo(Some(host), None, Some(hints)).ok()?;
    found.flatten().find_map(|info| info.canonname)
}

fn ignore_file(path: &str, seen: Option<FileStamp>) -> Result<Option<(FileStamp, String)>, String> {
    let meta = std::fs::metadata(path).map_err(|e| e.to_string())?;
    let mtime = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
    let stamp = FileStamp(mtime, meta.ino(), meta.size());
    if seen == Some(stamp) {
        return Ok(None);
    }
    if !meta.is_file() || meta.size() > IGNORE_FILE_MAX {
        return Err(format!("not a regular file of at most {IGNORE_FILE_MAX} bytes"));
    }
    let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
    Ok(Some((stamp, String::from_utf8_lossy(&bytes).into_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn resolver() -> (Resolver, Receiver<Event>) {
        let (tx, rx) = crossbeam_channel::unbounded();
        let run: CommandFn = Arc::new(|_, command, _| Ok(command.len() as i32));
        (Resolver::start(tx, true, run).unwrap(), rx)
    }

    fn answer(rx: &Receiver<Event>) -> Answer {
        match rx.recv_timeout(Duration::from_secs(20)).unwrap() {
            Event::Answer(AskId(7), answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn loopback_is_our_own() {
        let (resolver, rx) = resolver();
        resolver.ask(AskId(7), Ask::OwnAddresses);
        let Answer::Addresses(Ok(own)) = answer(&rx) else { panic!() };
        assert!(own.contains(&"127.0.0.1".parse().unwrap()), "{own:?}");
    }

    #[test]
    fn ignore_file_is_read_once_per_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ignore").to_string_lossy().into_owned();
        let (resolver, rx) = resolver();
        resolver.ask(AskId(7), Ask::IgnoreFile { path: path.clone(), seen: None });
        assert!(matches!(answer(&rx), Answer::File(Err(_))));
        std::fs::write(&path, "192.0.2.1\n").unwrap();
        resolver.ask(AskId(7), Ask::IgnoreFile { path: path.clone(), seen: None });
        let Answer::File(Ok(Some((stamp, text)))) = answer(&rx) else { panic!() };
        assert_eq!(text, "192.0.2.1\n");
        resolver.ask(AskId(7), Ask::IgnoreFile { path, seen: Some(stamp) });
        assert_eq!(answer(&rx), Answer::File(Ok(None)));
    }
}
