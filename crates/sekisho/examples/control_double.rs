//! The client programs with a server that has no engine: it answers the socket, writes the log,
//! obeys signals, and knows no jails. The tests of the client drive it.
//!
//! `control_double client|server|sekisho ARGUMENTS…`

use std::process::ExitCode;
use std::time::Duration;

use sekisho::client::{self, Launch, Program};
use sekisho::control::socket::{ControlServer, Listen};
use sekisho::log::Logger;
use sekisho::process::{self, PidFile};
use sekisho_core::command::{CommandError, ErrorClass};
use sekisho_core::effect::{Event, Level, Record};
use sekisho_core::value::Value;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let first = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    let program = match first.as_str() {
        process::BACKGROUND => return ExitCode::from(client::background(&rest, serve)),
        "server" => Program::Server,
        "sekisho" => Program::Sekisho,
        _ => Program::Client,
    };
    ExitCode::from(client::main(program, &rest, serve))
}

fn serve(launch: Launch) -> u8 {
    let (logger, _) = Logger::start(&launch.log);
    let (sender, events) = crossbeam_channel::bounded(100);
    let listen = Listen::Path { path: &launch.socket, force: launch.force };
    let server = match ControlServer::start(listen, sender.clone(), logger.func()) {
        Ok(server) => server,
        Err(error) => {
            launch.ready.report(Err(&error.to_string()));
            return client::FAILURE;
        }
    };
    let pid = match PidFile::create(&launch.pidfile).and_then(|pid| {
        process::forward_signals(sender)?;
        Ok(pid)
    }) {
        Ok(pid) => pid,
        Err(error) => {
            launch.ready.report(Err(&error.to_string()));
            return client::FAILURE;
        }
    };
    launch.ready.report(Ok(()));
    logger.log(record("started"));
    for event in events {
        let Event::Control { request, words } = event else { continue };
        let texts: Vec<&str> = words.words.iter().map(|w| w.as_str().unwrap_or_default()).collect();
        let result = match texts.as_slice() {
            ["ping", ..] => Ok(Value::str("pong")),
            ["echo", ..] => Ok(Value::List(words.words.iter().skip(1).cloned().collect())),
            ["status"] => Ok(Value::List(vec![
                Value::Tuple(vec!["Number of jail".into(), Value::Int(0)]),
                Value::Tuple(vec!["Jail list".into(), "".into()]),
            ])),
            ["status", jail, ..] => Err(CommandError::new(ErrorClass::UnknownJail, *jail)),
            ["server-stream", _] => Ok(Value::None),
            ["reload", ..] => Ok(Value::str("OK")),
            ["flushlogs"] => Ok(Value::str(logger.flush())),
            ["set", name @ ("loglevel" | "logtarget" | "syslogsocket"), value] => {
                logger.set(name, &Value::str(*value))
            }
            ["get", name] => logger
                .get(name)
                .ok_or_else(|| CommandError::new(ErrorClass::Exception, "Invalid command")),
            ["stop"] => {
                logger.log(record("stopped"));
                // As the daemon: who reads the answer finds nothing of it.
                server.withdraw();
                drop(pid);
                server.reply(request, Ok(Value::None));
                break;
            }
            _ => Err(CommandError::new(ErrorClass::Exception, "Invalid command")),
        };
        server.reply(request, result);
    }
    server.close(Duration::from_secs(5));
    logger.sync(Duration::from_secs(5));
    0
}

fn record(text: &str) -> Record {
    Record { level: Level::Info, logger: "fail2ban.server", text: text.into() }
}
