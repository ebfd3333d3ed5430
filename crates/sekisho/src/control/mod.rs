//! What speaks to the administrator: the control socket, its encoding, and its texts.
//!
//! Nothing here decides anything: a request becomes an `Event::Control`, its result an answer. Bytes
//! from the socket are data and may never build, call or import anything.

pub mod activation;
pub mod events;
pub mod pickle;
pub mod socket;
pub mod text;
