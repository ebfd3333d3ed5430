//! `sekisho events`: prints what happens, one JSON object per line, until the server ends.
//!
//! The lines are the server's, unread and unchanged.

use std::io::{self, Write};

use sekisho_core::effect::Level;
use sekisho_core::value::Value;

use super::{Client, Link, say};
use crate::control::pickle::Reply;
use crate::control::socket::{EVENTS, FOLLOWING};

impl Client {
    /// Follows the server; whether that ended well.
    pub(super) fn follow(&self) -> bool {
        let command = Value::strs([EVENTS]);
        let asked = Link::open(self.socket(), None).and_then(|mut link| {
            let reply = link.ask(&command)?;
            Ok((link, reply))
        });
        let link = match asked {
            Ok((link, Reply::Done(Value::Str(word)))) if word == FOLLOWING => link,
            // A server of fail2ban knows nothing of it.
            Ok((_, reply)) => {
                self.show(&command, &reply, true);
                return false;
            }
            Err(error) => return self.no_answer(&error, error.to_string()),
        };
        let mut out = io::stdout().lock();
        let ended = link.stream(|chunk| out.write_all(chunk).and_then(|()| out.flush()));
        match ended {
            Ok(()) => true,
            // Whoever reads has seen enough (`| head`).
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => true,
            Err(error) => {
                say(Level::Error, &error.to_string());
                false
            }
        }
    }
}
