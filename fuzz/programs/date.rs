//! libFuzzer's program for the target `date`.
#![no_main]

libfuzzer_sys::fuzz_target!(init: sekisho_fuzz::seeds::write("date"), |data: &[u8]| {
    sekisho_fuzz::date::run(data);
});
