//! The program under the name `fail2ban-python`.
fn main() -> std::process::ExitCode {
    sekisho::run_as("fail2ban-python")
}
