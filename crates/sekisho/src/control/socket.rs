//! The control socket: frames in, events to the engine, answers out.
//!
//! One thread per client, so that a slow one delays nobody, and never more than [`MAX_CLIENTS`]: the
//! longest idle one then has to go. A frame is a pickle followed by [`END`]; its size is bounded.
//! This module never waits for the engine while it holds a lock, and never looks into a command but
//! [`EVENTS`], which makes a client a follower: a reader of lines, and no client any more.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use memchr::memmem;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, Mode, flock};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use sekisho_core::command::{CommandError, ErrorClass, Words};
use sekisho_core::effect::{Event, Level, Record, RequestId};
use sekisho_core::value::Value;

use super::events::Followers;
use super::pickle;
use crate::LogFn;

/// Ends every message, in both directions.
pub const END: &[u8] = b"<F2B_END_COMMAND>";
/// The message by which a client says goodbye.
pub const CLOSE: &[u8] = b"<F2B_CLOSE_COMMAND>";
/// The command that is answered by [`FOLLOWING`], and from there on by a line for each event.
pub const EVENTS: &str = "events";
/// The answer to it.
pub const FOLLOWING: &str = "following";
/// Clients served at once.
pub const MAX_CLIENTS: usize = 256;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 512;
/// Stack of a client's thread; a message nests [`pickle::MAX_DEPTH`] levels at most.
const STACK: usize = 512 << 10;
/// How often a follower without news is looked after: it may have gone.
const LOOK_AFTER: Duration = Duration::from_secs(5);
/// Bytes written to a follower at once.
const CHUNK: usize = 64 << 10;
/// How long a client may leave its answer unread.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody answers on it.
    #[error("Server already running")]
    InUse,
    /// No thread or descriptor to serve with.
    #[error("cannot serve the control socket: {0}")]
    Serve(io::Error),
    /// What has its name is something else: a log, for instance.
    #[error("cannot open the control socket {}: what is there is no socket; remove it, or choose another name with -s", .0.display())]
    Foreign(PathBuf),
    /// The file system refuses.
    #[error("cannot open the control socket {}: {error} (is its folder there and writable? choose another with -s)", path.display())]
    Io {
        /// The socket's path.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
}

/// Where the listening socket comes from.
#[derive(Debug)]
pub enum Listen<'a> {
    /// It is made. A socket file nobody listens on is replaced; one that is in use only by force;
    /// what is no socket never.
    Path {
        /// Its path.
        path: &'a Path,
        /// Replace it in any case.
        force: bool,
    },
    /// Somebody else has opened it, and keeps it.
    Inherited(UnixListener),
}

/// The listening socket and everything that waits for an answer.
#[derive(Debug)]
pub struct ControlServer {
    shared: Arc<Shared>,
    /// A socket file of our own: path, device and inode. Only that one is removed at the end.
    file: Option<(PathBuf, u64, u64)>,
    /// Ends the wait for clients when it is shut down.
    waker: UnixStream,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    closing: AtomicBool,
    /// Counts requests; also orders clients by their last activity.
    counter: AtomicU64,
    followers: Followers,
}

#[derive(Debug, Default)]
struct State {
    clients: BTreeMap<u64, Client>,
    pending: BTreeMap<RequestId, Sender<Result<Value, CommandError>>>,
}

#[derive(Debug)]
struct Client {
    /// To cut it off from outside its thread.
    stream: UnixStream,
    last_active: u64,
    state: Doing,
}

/// What a client is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Nothing,
    /// It has sent a request and has not got the whole answer yet.
    Asking,
    /// It reads events.
    Following,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn next(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }
}

impl ControlServer {
    /// Opens the socket and starts serving: every request becomes an [`Event::Control`] on `events`,
    /// to be answered through [`ControlServer::reply`].
    pub fn start(
        listen: Listen<'_>,
        events: Sender<Event>,
        log: LogFn,
    ) -> Result<ControlServer, SocketError> {
        let (listener, file) = match listen {
            Listen::Inherited(listener) => (listener, None),
            Listen::Path { path, force } => {
                let listener = bind(path, force)?;
                let meta = std::fs::metadata(path).ok();
                (listener, meta.map(|m| (path.to_owned(), m.dev(), m.ino())))
            }
        };
        // Between the news of a client and its acceptance it may have gone.
        listener.set_nonblocking(true).map_err(SocketError::Serve)?;
        let (waker, wake) = UnixStream::pair().map_err(SocketError::Serve)?;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            closing: AtomicBool::new(false),
            counter: AtomicU64::new(1),
            followers: Followers::default(),
        });
        let for_thread = Arc::clone(&shared);
        thread::Builder::new()
            .name("control".into())
            .spawn(move || accept(&listener, &wake, &for_thread, &events, &log))
            .map_err(SocketError::Serve)?;
        Ok(ControlServer { shared, file, waker })
    }

    /// Answers a request; one that is unknown (its client has gone) is ignored. Never blocks.
    pub fn reply(&self, request: RequestId, result: Result<Value, CommandError>) {
        let waiting = self.shared.lock().pending.remove(&request);
        if let Some(waiting) = waiting {
            // The channel holds one answer and gets one, so this cannot wait.
            let _ = waiting.try_send(result);
        }
    }

    /// Tells followers of something; the line is only made if there are any. Never blocks.
    pub fn tell(&self, line: impl FnOnce() -> String) {
        self.shared.followers.tell(line);
    }

    /// Accepts nobody any more, and removes a socket file of its own; who is connected can still be
    /// answered, and finds no socket then.
    pub fn withdraw(&self) {
        if self.shared.closing.swap(true, Ordering::SeqCst) {
            return;
        }
        let _ = self.waker.shutdown(std::net::Shutdown::Both);
        if let Some((path, dev, ino)) = &self.file
            && std::fs::metadata(path).is_ok_and(|m| (m.dev(), m.ino()) == (*dev, *ino))
        {
            let _ = std::fs::remove_file(path);
        }
    }

    /// Ends: withdraws, answers what is still waiting with `['SHUTDOWN']`, and gives answers and events
    /// on their way `grace` to be read.
    pub fn close(&self, grace: Duration) {
        self.withdraw();
        let mut state = self.shared.lock();
        state.pending.clear();
        self.shared.followers.end();
        for client in state.clients.values().filter(|c| c.state == Doing::Nothing) {
            let _ = client.stream.shutdown(std::net::Shutdown::Both);
        }
        let busy = |state: &mut State| state.clients.values().any(|c| c.state != Doing::Nothing);
        let result = self.shared.changed.wait_timeout_while(state, grace, busy);
        let (state, _) = result.unwrap_or_else(PoisonError::into_inner);
        for client in state.clients.values() {
            let _ = client.stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.close(Duration::ZERO);
    }
}

/// Whether somebody serves behind a connection: a server waits for a request, while the socket of
/// one that was killed a moment ago (a program it was starting may still hold it) is closed unread.
fn is_alive(mut stream: &UnixStream) -> bool {
    const PATIENCE: Duration = Duration::from_millis(200);
    if stream.set_read_timeout(Some(PATIENCE)).is_err() {
        return true;
    }
    match stream.read(&mut [0; 1]) {
        Ok(n) => n > 0,
        Err(error) => error.kind() != io::ErrorKind::ConnectionReset,
    }
}

/// Creates the listening socket, mode 0600 from its first moment.
fn bind(path: &Path, force: bool) -> Result<UnixListener, SocketError> {
    let io = |error: io::Error| SocketError::Io { path: path.to_owned(), error };
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match std::fs::DirBuilder::new().mode(0o755).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(io(error)),
        _ => {}
    }
    // Two servers that start at once must not both find the same stale file and one of them remove
    // the other's fresh one; the folder is the lock, so nothing is left behind.
    // In a folder that others may open (`/tmp`) somebody could hold it for ever, so not for ever.
    let folder = std::fs::File::open(folder).map_err(io)?;
    for _ in 0..50 {
        if flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok() {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    let there = std::fs::symlink_metadata(path);
    if there.is_ok_and(|meta| !meta.file_type().is_socket() && !meta.file_type().is_symlink()) {
        return Err(SocketError::Foreign(path.to_owned()));
    }
    match UnixStream::connect(path) {
        Ok(stream) if !force && is_alive(&stream) => return Err(SocketError::InUse),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error)
            if !force
                && !matches!(error.kind(), io::ErrorKind::ConnectionRefused)
                && path.exists() =>
        {
            return Err(io(error));
        }
        _ => std::fs::remove_file(path).map_err(io)?,
    }
    let create = || -> rustix::io::Result<_> {
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        // Before `bind`, so that there is no moment in which others may connect.
        rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
        rustix::fs::chmod(path, Mode::RUSR | Mode::WUSR)?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(socket)
    };
    Ok(UnixListener::from(create().map_err(|e| io(e.into()))?))
}

fn accept(
    listener: &UnixListener,
    wake: &UnixStream,
    shared: &Arc<Shared>,
    events: &Sender<Event>,
    log: &LogFn,
) {
    loop {
        let mut fds = [
            PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(wake.as_fd(), PollFlags::IN),
        ];
        let _ = poll(&mut fds, None);
        // Whoever comes now is left to the next server, if that gets the same socket.
        if shared.closing.load(Ordering::SeqCst) {
            return;
        }
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => {
                // Out of descriptors, most likely: others will be given back.
                log(record(Level::Error, format!("Control socket cannot accept: {error}")));
                thread::sleep(Duration::from_millis(200));
                continue;
            }
        };
        let Some(id) = admit(shared, &stream) else { continue };
        let (for_thread, events, for_log) = (Arc::clone(shared), events.clone(), Arc::clone(log));
        let thread = thread::Builder::new().name("client".into()).stack_size(STACK);
        let spawned = thread.spawn(move || {
            serve(stream, id, &for_thread, &events, &for_log);
            for_thread.lock().clients.remove(&id);
            for_thread.changed.notify_all();
        });
        if let Err(error) = spawned {
            log(record(Level::Error, format!("Control socket cannot serve a client: {error}")));
            shared.lock().clients.remove(&id);
        }
    }
}

/// Registers a client, after making room for it.
fn admit(shared: &Shared, stream: &UnixStream) -> Option<u64> {
    let mut state = shared.lock();
    while state.clients.len() >= MAX_CLIENTS {
        let idle = state.clients.values().filter(|c| c.state != Doing::Asking);
        // Followers last: they have no other way to know.
        let idle = idle.min_by_key(|c| (c.state == Doing::Following, c.last_active));
        if let Some(client) = idle {
            let _ = client.stream.shutdown(std::net::Shutdown::Both);
        }
        let wait = shared.changed.wait_timeout(state, Duration::from_millis(100));
        state = wait.unwrap_or_else(PoisonError::into_inner).0;
        if shared.closing.load(Ordering::SeqCst) {
            return None;
        }
    }
    stream.set_write_timeout(Some(WRITE_TIMEOUT)).ok()?;
    let id = shared.next();
    let client =
        Client { stream: stream.try_clone().ok()?, last_active: id, state: Doing::Nothing };
    state.clients.insert(id, client);
    Some(id)
}

/// Serves one client until it leaves.
fn serve(mut stream: UnixStream, id: u64, shared: &Shared, events: &Sender<Event>, log: &LogFn) {
    let mut frames = Frames::default();
    loop {
        let answer = match frames.next(&mut stream) {
            Ok(Some(frame)) if frame == CLOSE => return,
            Ok(Some(frame)) => {
                set_state(shared, id, Doing::Asking);
                match decode(&frame, log) {
                    Ok(words) if words == [Value::str(EVENTS)] => {
                        return follow(stream, id, shared);
                    }
                    Ok(words) => request(words, shared, events),
                    Err(answer) => answer,
                }
            }
            Ok(None) | Err(FrameError::Io | FrameError::TimedOut) => return,
            Err(FrameError::TooLarge) => {
                let text =
                    format!("ERROR: message too large (more than {} bytes)", pickle::MAX_BYTES);
                let _ = send(&mut stream, &pickle::encode(&Value::Str(text)));
                return;
            }
        };
        let sent = send(&mut stream, &answer);
        set_state(shared, id, Doing::Nothing);
        if sent.is_err() || shared.closing.load(Ordering::SeqCst) {
            return;
        }
    }
}

fn set_state(shared: &Shared, id: u64, state: Doing) {
    let now = shared.next();
    if let Some(client) = shared.lock().clients.get_mut(&id) {
        client.state = state;
        client.last_active = now;
    }
    shared.changed.notify_all();
}

/// Sends events until one side ends.
fn follow(mut stream: UnixStream, id: u64, shared: &Shared) {
    let follower = {
        let state = shared.lock();
        // Under the lock, so that `close` either ends this follower or is seen by it.
        if shared.closing.load(Ordering::SeqCst) {
            return;
        }
        let follower = shared.followers.add();
        drop(state);
        follower
    };
    set_state(shared, id, Doing::Following);
    let answer = pickle::encode_reply(&Ok(Value::str(FOLLOWING)));
    // A follower may pause for as long as it likes; it only misses something.
    if stream.set_write_timeout(None).is_err() || send(&mut stream, &answer).is_err() {
        return;
    }
    let mut chunk = String::new();
    loop {
        chunk.clear();
        match follower.lines.recv_timeout(LOOK_AFTER) {
            Ok(line) => {
                chunk.push_str(&line);
                chunk.push('\n');
                for line in follower.lines.try_iter() {
                    chunk.push_str(&line);
                    chunk.push('\n');
                    if chunk.len() > CHUNK {
                        break;
                    }
                }
            }
            Err(RecvTimeoutError::Timeout) if is_open(&stream) => {}
            Err(RecvTimeoutError::Timeout) => return,
            Err(RecvTimeoutError::Disconnected) => {
                if let Some(last) = follower.last() {
                    let _ = stream.write_all(format!("{last}\n").as_bytes());
                }
                return;
            }
        }
        if stream.write_all(chunk.as_bytes()).is_err() {
            return;
        }
    }
}

/// Whether the other side has not closed.
fn is_open(stream: &UnixStream) -> bool {
    let mut fds = [PollFd::new(stream, PollFlags::RDHUP)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    !matches!(poll(&mut fds, Some(&now)), Ok(n) if n > 0)
}

/// The words of a request, or the answer to what is none.
fn decode(frame: &[u8], log: &LogFn) -> Result<Vec<Value>, Vec<u8>> {
    match pickle::decode(frame) {
        Ok(Value::List(words) | Value::Tuple(words)) => Ok(words),
        Ok(value) => {
            let error = CommandError::new(ErrorClass::Exception, "Invalid command");
            let shown: String = value.repr().chars().take(200).collect();
            let text = format!("Command {shown} has failed. Received {}", error.repr());
            log(record(Level::Error, text));
            Err(pickle::encode_reply(&Err(error)))
        }
        Err(error) => {
            log(record(Level::Error, format!("Refused a request on the control socket: {error}")));
            Err(pickle::encode(&Value::Str(format!("ERROR: {error}"))))
        }
    }
}

/// Hands one request to the engine and waits for its answer.
fn request(words: Vec<Value>, shared: &Shared, events: &Sender<Event>) -> Vec<u8> {
    let request = RequestId(shared.next());
    let (sender, receiver): (_, Receiver<Result<Value, CommandError>>) = bounded(1);
    {
        let mut state = shared.lock();
        // Under the lock, so that `close` either sees this request or is seen by it.
        if shared.closing.load(Ordering::SeqCst) {
            return shutdown_answer();
        }
        state.pending.insert(request, sender);
    }
    let event = Event::Control { request, words: Words { words, origin: None } };
    if events.send(event).is_err() {
        shared.lock().pending.remove(&request);
        return shutdown_answer();
    }
    receiver.recv().map_or_else(|_| shutdown_answer(), |result| pickle::encode_reply(&result))
}

fn shutdown_answer() -> Vec<u8> {
    pickle::encode(&Value::strs(["SHUTDOWN"]))
}

/// Writes one message and its end.
pub fn send(stream: &mut impl Write, message: &[u8]) -> io::Result<()> {
    let mut frame = Vec::with_capacity(message.len() + END.len());
    frame.extend(message);
    frame.extend(END);
    stream.write_all(&frame)?;
    stream.flush()
}

fn record(level: Level, text: String) -> Record {
    Record { level, logger: "fail2ban.asyncserver", text }
}

/// Cuts a byte stream into messages.
#[derive(Debug, Default)]
pub struct Frames {
    buffer: Vec<u8>,
    searched: usize,
}

/// Why there is no further message.
#[derive(Debug)]
pub enum FrameError {
    /// The connection broke.
    Io,
    /// Nothing came within the connection's time limit.
    TimedOut,
    /// A message is longer than [`pickle::MAX_BYTES`].
    TooLarge,
}

impl Frames {
    /// What has come after the last message, and is not to be one.
    pub fn take_rest(&mut self) -> Vec<u8> {
        self.searched = 0;
        std::mem::take(&mut self.buffer)
    }

    /// The next message without its end; `None` when the other side has closed.
    pub fn next(&mut self, stream: &mut impl Read) -> Result<Option<Vec<u8>>, FrameError> {
        let mut chunk = [0u8; 16384];
        loop {
            let rest = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(found) = memmem::find(rest, END) {
                let mut message = self.buffer.split_off(self.searched + found);
                let tail = message.split_off(END.len());
                let frame = std::mem::replace(&mut self.buffer, tail);
                self.searched = 0;
                return Ok(Some(frame));
            }
            if self.buffer.len() > pickle::MAX_BYTES + END.len() {
                return Err(FrameError::TooLarge);
            }
            self.searched = self.buffer.len().saturating_sub(END.len() - 1);
            match stream.read(&mut chunk) {
                Ok(0) => return Ok(None),
                Ok(n) => self.buffer.extend(chunk.iter().take(n)),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                        return Err(FrameError::TimedOut);
                    }
                    _ => return Err(FrameError::Io),
                },
            }
        }
    }
}
