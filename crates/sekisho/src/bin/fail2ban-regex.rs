//! The program under the name `fail2ban-regex`.
fn main() -> std::process::ExitCode {
    sekisho::run_as("fail2ban-regex")
}
