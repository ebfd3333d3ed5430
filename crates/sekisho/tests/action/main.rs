//! Running actions for real: life cycles, shells, lanes, and the stock action files.

#![allow(clippy::disallowed_methods)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod bench;
mod lanes;
mod life;
mod python;
mod shell;
mod stock;
