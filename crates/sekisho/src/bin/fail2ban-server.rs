//! The program under the name `fail2ban-server`.
fn main() -> std::process::ExitCode {
    sekisho::run_as("fail2ban-server")
}
