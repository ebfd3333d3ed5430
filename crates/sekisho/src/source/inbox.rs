//! The way from the sources to the engine: a channel that carries events by the handful.
//!
//! Waking a thread costs more than reading a line, so what one look brought, of however many files, is
//! handed on at once; the engine takes it event by event. Must never change the order.

use std::time::Duration;
use std::vec;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use sekisho_core::effect::Event;

/// What one look brought, in its order.
pub type Events = Vec<Event>;

/// A channel in which so many handfuls may wait.
pub fn inbox(capacity: usize) -> (Sender<Events>, Inbox) {
    let (sender, receiver) = crossbeam_channel::bounded(capacity);
    (sender, Inbox { receiver, begun: Vec::new().into_iter() })
}

/// The engine's end of it.
pub struct Inbox {
    receiver: Receiver<Events>,
    /// Of a handful that was received, what has not been taken yet.
    begun: vec::IntoIter<Event>,
}

impl Inbox {
    /// Where more can be received, for [`Inbox::begin`], once [`Inbox::take`] finds nothing.
    pub fn receiver(&self) -> &Receiver<Events> {
        &self.receiver
    }

    /// The next event of those that were received.
    pub fn take(&mut self) -> Option<Event> {
        self.begun.next()
    }

    /// Takes the first of what was received.
    pub fn begin(&mut self, events: Events) -> Option<Event> {
        debug_assert!(self.begun.len() == 0);
        self.begun = events.into_iter();
        self.take()
    }

    /// The next event, waiting for it.
    pub fn wait(&mut self, timeout: Duration) -> Result<Event, RecvTimeoutError> {
        loop {
            if let Some(event) = self.take() {
                return Ok(event);
            }
            self.begun = self.receiver.recv_timeout(timeout)?.into_iter();
        }
    }
}
