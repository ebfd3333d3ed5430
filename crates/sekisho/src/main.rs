//! The `sekisho` program.
fn main() -> std::process::ExitCode {
    sekisho::run_as("sekisho")
}
