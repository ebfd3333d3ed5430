//! Logs that are read from their end on: what is written as soon as the client is answered counts.

use std::os::unix::net::UnixStream;

use sekisho::control::pickle::Reply;
use sekisho_core::value::Value;
use sekisho_oracle::{Fail2ban, report};

use crate::client::Client;
use crate::clients::{ask, connect};
use crate::script::TREE;
use crate::site::{Server, Site, now, words};

/// The race is lost now and then only.
const ROUNDS: usize = 50;

fn say(stream: &mut UnixStream, line: &str) {
    let reply = ask(stream, &line.split(' ').collect::<Vec<_>>());
    assert!(matches!(reply, Reply::Done(_)), "{line}: {reply:?}");
}

/// Everything that is written after an answer leads to a ban, and nothing that was there before.
fn play(server: &Server) {
    let mut site = Site::new(TREE, Client::Ours);
    site.write("conf/jail.d/x.conf", "[DEFAULT]\nmaxretry = 1\n[mail]\nmaxretry = 1\n");
    site.start(server);
    let mut stream = connect(&site);
    let dir = site.dir().to_str().unwrap().to_owned();
    let line = |net: &str, n: usize| format!("{} fail {net}.{n}\n", now());
    for (jail, net) in [("web", "198.51.100"), ("mail", "203.0.113")] {
        for n in 1..=ROUNDS {
            let name = format!("{jail}-{n}.log");
            site.append(&name, &line("192.0.2", n));
            say(&mut stream, &format!("set {jail} addlogpath {dir}/{name} tail"));
            site.append(&name, &line(net, n));
        }
        let wanted: Vec<String> = (1..=ROUNDS).map(|n| format!("{net}.{n}")).collect();
        let said = format!("[{}]", vec!["1"; ROUNDS].join(", "));
        let asked = format!("get {jail} banned {}", wanted.join(" "));
        site.until(&words(&asked), &said).unwrap();
    }
    // Jails that are not started yet, and those of a reload.
    for n in 1..=ROUNDS {
        let (name, jail) = (format!("late-{n}.log"), format!("late{n}"));
        site.append(&name, &line("192.0.2", n));
        for line in [
            &*format!("add {jail} polling"),
            &format!("set {jail} maxretry 1"),
            &format!("set {jail} usedns no"),
        ] {
            say(&mut stream, line);
        }
        let regex = ["set", &jail, "addfailregex", r"^\s*fail <HOST>$"];
        assert!(matches!(ask(&mut stream, &regex), Reply::Done(_)));
        say(&mut stream, &format!("set {jail} addlogpath {dir}/{name} tail"));
        site.append(&name, &line("198.51.100", n));
        say(&mut stream, &format!("start {jail}"));
    }
    for n in 1..=ROUNDS {
        site.until(&words(&format!("get late{n} banip")), &format!("198.51.100.{n}")).unwrap();
    }
    for n in 1..=ROUNDS {
        let name = format!("reload-{n}.log");
        site.append(&name, &line("192.0.2", n));
        let jail = format!("[mail]\nlogpath = {{dir}}/{name} tail\n");
        site.write("conf/jail.d/mail.conf", &jail);
        site.run(&words("reload mail"), "");
        site.append(&name, &line("198.51.100", n));
        site.until(&words("get mail banip"), &format!("198.51.100.{n}")).unwrap();
    }
    let Reply::Done(Value::List(jails)) = ask(&mut stream, &["banned"]) else { panic!() };
    let all = Value::List(jails).repr();
    assert!(!all.contains("192.0.2."), "old lines are not read: {all}");
}

#[test]
fn what_is_written_after_the_answer_counts() {
    play(&Server::Ours);
    if let Some(fail2ban) = Fail2ban::newest() {
        play(&Server::Theirs(fail2ban));
        report("lines written after an answer", "fail2ban 1.1.1", 4 * ROUNDS, "lines");
    }
}
