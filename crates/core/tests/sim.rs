//! A seeded world around the engine: clocks that step, actions that fail, a process that is killed.
//!
//! Every seed is one history. After each step and whenever the world is quiet the invariants of
//! [`sim::world`] must hold; a failure names its seed. `SEKISHO_SIM_SEED=n` replays one,
//! `SEKISHO_SIM_COUNT=n` runs more than usual.

// A test may stop at anything unexpected.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::disallowed_methods)]

mod sim {
    pub mod world;
}

use sim::world::World;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn play(seed: u64) -> Result<(), String> {
    let run = std::panic::AssertUnwindSafe(|| {
        let mut world = World::new(seed);
        for _ in 0..120 {
            world.step();
        }
        world.settle();
    });
    std::panic::catch_unwind(run).map_err(|cause| {
        let text = cause.downcast_ref::<String>().cloned();
        text.or_else(|| cause.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default()
    })
}

#[test]
fn a_thousand_histories_keep_the_invariants() {
    if let Some(seed) = number("SEKISHO_SIM_SEED") {
        let mut world = World::new(seed);
        world.talk = true;
        for _ in 0..120 {
            world.step();
        }
        world.settle();
        return;
    }
    let count = number("SEKISHO_SIM_COUNT").unwrap_or(1000);
    for seed in 0..count {
        if let Err(cause) = play(seed) {
            panic!("seed {seed}: {cause}\nreplay: SEKISHO_SIM_SEED={seed} cargo test --test sim");
        }
    }
}
