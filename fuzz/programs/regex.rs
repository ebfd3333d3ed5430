//! libFuzzer's program for the target `regex`.
#![no_main]

libfuzzer_sys::fuzz_target!(init: sekisho_fuzz::seeds::write("regex"), |data: &[u8]| {
    sekisho_fuzz::regex::run(data);
});
