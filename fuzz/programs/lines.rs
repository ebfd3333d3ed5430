//! libFuzzer's program for the target `lines`.
#![no_main]

libfuzzer_sys::fuzz_target!(init: sekisho_fuzz::seeds::write("lines"), |data: &[u8]| {
    sekisho_fuzz::lines::run(data);
});
