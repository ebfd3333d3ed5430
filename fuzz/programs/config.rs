//! libFuzzer's program for the target `config`.
#![no_main]

libfuzzer_sys::fuzz_target!(init: sekisho_fuzz::seeds::write("config"), |data: &[u8]| {
    sekisho_fuzz::config::run(data);
});
