//! libFuzzer's program for the target `pickle`.
#![no_main]

libfuzzer_sys::fuzz_target!(init: sekisho_fuzz::seeds::write("pickle"), |data: &[u8]| {
    sekisho_fuzz::pickle::run(data);
});
