//! `sekisho events`: what happens, told line by line, and nobody held up by a reader that is slow.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use sekisho::control::events::QUEUE;
use sekisho::control::pickle::{self, Reply};
use sekisho::control::socket::{EVENTS, FOLLOWING, Frames, send};
use sekisho_core::value::Value;
use serde_json::Value as Json;

use super::*;

/// A running `sekisho events`.
struct Follower {
    child: Child,
    lines: Arc<Mutex<Vec<Json>>>,
}

impl Follower {
    fn of(site: &Site) -> Follower {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sekisho"))
            .arg("-c")
            .arg(site.path("conf"))
            .arg("events")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (out, for_thread) = (child.stdout.take().unwrap(), Arc::clone(&lines));
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines() {
                let line = line.unwrap();
                let json = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
                for_thread.lock().unwrap().push(json);
            }
        });
        Follower { child, lines }
    }

    /// What was told of an address, or of the jail itself.
    fn told(&self, ip: Option<&str>) -> Vec<String> {
        let lines = self.lines.lock().unwrap();
        let of = lines.iter().filter(|line| line["jail"] == "alpha" && line["ip"].as_str() == ip);
        of.map(|line| line["event"].as_str().unwrap().to_owned()).collect()
    }

    #[track_caller]
    fn until(&self, ip: Option<&str>, expected: &[&str]) {
        let good = wait(|| self.told(ip) == expected);
        assert!(good, "{ip:?}: {:?}, not {expected:?}", self.told(ip));
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_happens_is_told_until_the_server_ends() {
    let site = Site::new();
    site.run(env!("CARGO_BIN_EXE_sekisho"), "events").exits(255).has(&["Nothing guards"]);
    site.start();
    let mut follower = Follower::of(&site);
    // Nothing is said of what was before; this says when it listens.
    let listens = wait(|| {
        site.client("set alpha attempt 192.0.2.200").exits(0);
        !follower.told(Some("192.0.2.200")).is_empty()
    });
    assert!(listens, "no line: {}", site.read("server.log"));
    site.attack("192.0.2.1");
    let found = ["found"; 5];
    follower.until(Some("192.0.2.1"), &[found.as_slice(), &["banned"]].concat());
    site.log(failures(1, "192.0.2.99"));
    follower.until(Some("192.0.2.99"), &["ignored"]);
    site.client("unban 192.0.2.1").exits(0);
    site.client("set alpha banip 192.0.2.2").exits(0);
    follower.until(Some("192.0.2.2"), &["banned"]);
    let ban = follower.lines.lock().unwrap().iter().find(|l| l["ip"] == "192.0.2.2").cloned();
    let ban = ban.unwrap();
    assert_eq!((&ban["seconds"], &ban["count"]), (&Json::from(3600), &Json::from(1)), "{ban}");
    for key in ["time", "since", "until"] {
        assert!(ban[key].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{ban}");
    }
    site.client("reload --restart alpha").exits(0);
    follower.until(None, &["stopped", "started"]);
    follower.until(Some("192.0.2.2"), &["banned", "repealed", "restored"]);
    site.client("stop").exits(0);
    assert_eq!(follower.child.wait().unwrap().code(), Some(0));
    follower.until(None, &["stopped", "started", "stopped"]);
    follower.until(Some("192.0.2.2"), &["banned", "repealed", "restored", "repealed"]);
    follower.until(Some("192.0.2.1"), &[found.as_slice(), &["banned", "unbanned"]].concat());
}

#[test]
fn a_reader_that_does_not_read_delays_nobody_and_is_told_what_it_missed() {
    const LINES: usize = 5 * QUEUE;
    let site = Site::new();
    site.start();
    let mut slow = UnixStream::connect(site.path("socket")).unwrap();
    slow.set_read_timeout(Some(PATIENCE)).unwrap();
    send(&mut slow, &pickle::encode(&Value::strs([EVENTS]))).unwrap();
    let mut frames = Frames::default();
    let answer = frames.next(&mut slow).unwrap().unwrap();
    assert_eq!(pickle::decode_reply(&answer), Ok(Reply::Done(Value::str(FOLLOWING))));

    let stamp = stamp();
    let line = |n: usize| format!("{stamp} fail 2001:db8::{:x}:{:x}\n", n >> 16, n & 0xffff);
    site.log((1..=LINES).map(line).collect::<String>());
    site.until("status alpha", &format!("Total failed:\t{LINES}"));
    site.attack("192.0.2.1");
    // Counted as banned before its action has run, and told after it.
    site.until_file("server.log", "[alpha] Ban 192.0.2.1");

    let read = Arc::new(Mutex::new(frames.take_rest()));
    let reader = std::thread::spawn({
        let read = Arc::clone(&read);
        move || {
            let mut chunk = [0; 65536];
            while let Ok(length @ 1..) = slow.read(&mut chunk) {
                read.lock().unwrap().extend(&chunk[..length]);
            }
        }
    });
    // It reads again, and there is room: what follows the gap comes after the count of what is missing.
    let mut probes = 0;
    let told = |part: &str| String::from_utf8_lossy(&read.lock().unwrap()).contains(part);
    let again = wait(|| {
        probes += 1;
        site.client(&format!("set alpha attempt 10.1.{}.{}", probes >> 8, probes & 0xff)).exits(0);
        told("\"10.1.")
    });
    site.client("set alpha banip 192.0.2.2").exits(0);
    assert!(again && wait(|| told("\"192.0.2.2\"")), "{}", site.read("server.log"));
    site.client("stop").exits(0);
    reader.join().unwrap();
    let text = String::from_utf8_lossy(&read.lock().unwrap()).into_owned();
    let lines: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let found = lines.iter().filter(|line| line["event"] == "found").count();
    let dropped: Vec<usize> = lines
        .iter()
        .filter(|line| line["event"] == "dropped")
        .map(|line| line["count"].as_u64().unwrap() as usize)
        .collect();
    let missing: usize = dropped.iter().sum();
    // The failures of the attack and its ban may be among what is missing.
    assert!(!dropped.is_empty() && found >= QUEUE, "{found} found, {dropped:?} dropped");
    let told = lines.iter().filter(|l| l["event"] != "dropped").count();
    let after = |ip: &str| lines.iter().filter(|l| l["ip"] == ip).count();
    assert_eq!(after("192.0.2.2"), 2, "banned, repealed: {:?}", lines.last());
    // 5 failures, 2 bans, 2 repeals, the jail's end.
    assert_eq!(told + missing, LINES + probes + 5 + 2 + 2 + 1);
}
