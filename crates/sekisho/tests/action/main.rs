//! Running actions for real: life cycles, shells, lanes. (The stock action files
//! have a test program of their own, `transcripts`.)

#![allow(clippy::disallowed_methods)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod bench;
mod lanes;
mod life;
mod python;
mod shell;
