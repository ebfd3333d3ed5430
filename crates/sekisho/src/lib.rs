//! The edge: sources, actions, store, control socket, and the programs.
//!
//! Everything that touches the machine lives here; every decision lives in `sekisho-core`.
