//! The program under the name `fail2ban-client`.
fn main() -> std::process::ExitCode {
    sekisho::run_as("fail2ban-client")
}
