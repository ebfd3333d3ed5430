//! What a command may do without harm: hang, flood, die, leave children behind.

use std::sync::Arc;

use sekisho::action::{PastBansFn, ignore_command};
use sekisho_core::effect::{ActionOp, Level};

use crate::bench::{Bench, spec, ticket};

/// Runs `command` as a ban; what was logged, ids of executions removed.
fn run(command: &str, timeout: &str, at_least: Level) -> (Result<(), String>, Vec<String>) {
    let bench = Bench::new();
    // Nothing to repair, and the second try would log the same again.
    let spec = spec("act", &[("actionstart", command), ("timeout", timeout)]);
    bench.send(1, &spec, ActionOp::Start, None);
    let (_, result, _) = bench.outcome();
    let texts = bench.texts(at_least).into_iter().map(|text| match text.split_once(" -- ") {
        Some((id, rest)) if id.bytes().all(|b| b.is_ascii_hexdigit()) => rest.to_owned(),
        _ => text,
    });
    (result, texts.collect())
}

#[test]
fn log_lines() {
    // What is to be seen of a command before its time limit has 5 seconds to happen.
    let cases: &[(&str, &str, &[&str])] = &[
        ("true", "60", &[]),
        (
            "echo out; echo it\\'s; echo err >&2; exit 3",
            "60",
            &[
                "exec: echo out; echo it\\'s; echo err >&2; exit 3",
                "stdout: 'out'",
                "stdout: \"it's\"",
                "stderr: 'err'",
                "returned 3",
            ],
        ),
        ("kill -TERM $$", "60", &["exec: kill -TERM $$", "killed with SIGTERM (return code: -15)"]),
        ("exit 137", "60", &["exec: exit 137", "killed with SIGKILL (return code: 137)"]),
        ("exit 255", "60", &["exec: exit 255", "killed with signal 127 (return code: 255)"]),
        (
            "echo x; sleep 60",
            "5",
            &[
                "exec: echo x; sleep 60",
                "timed out after 5 seconds.",
                "stdout: 'x'",
                "killed with SIGTERM (return code: -15)",
            ],
        ),
        (
            "trap '' TERM; while :; do sleep 1; done",
            "5s",
            &[
                "exec: trap '' TERM; while :; do sleep 1; done",
                "timed out after 5 seconds.",
                "killed with SIGKILL (return code: -9)",
            ],
        ),
    ];
    for (command, timeout, expected) in cases {
        let (result, texts) = run(command, timeout, Level::Error);
        assert_eq!(texts, *expected);
        assert_eq!(result.is_ok(), expected.is_empty(), "{command}");
    }
}

#[test]
fn a_missing_command_gets_a_hint() {
    let (_, texts) = run("no-such-command-here", "60", Level::Info);
    assert_eq!(texts[0], "exec: no-such-command-here");
    assert_eq!(texts[texts.len() - 2], "returned 127");
    let hint = texts.last().unwrap();
    assert!(hint.starts_with("HINT on 127: \"Command not found\"."), "{hint}");
}

#[test]
fn a_flood_is_cut() {
    let flood = "i=0; while [ $i -lt 1000 ]; do printf '%01000d\\n' $i; i=$((i+1)); done; exit 1";
    let (_, texts) = run(flood, "60", Level::Error);
    let lines = texts.iter().filter(|t| t.starts_with("stdout: '")).count();
    // 64 KiB of it are kept, all of it was read: the command came to its end.
    assert_eq!(lines, 66);
    assert_eq!(texts.last().unwrap(), "returned 1");
    let (_, texts) = run("yes | head -n 5000; exit 1", "60", Level::Error);
    assert_eq!(texts[101], "stdout: … and 4900 more lines");
}

#[test]
fn a_child_in_the_background_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("f");
    let f = fifo.to_str().unwrap();
    // The child holds the pipes until we say so, which is after the outcome.
    let command = format!("mkfifo {f}; (read x <{f}) & echo ready");
    let (result, _) = run(&command, "60", Level::Error);
    assert_eq!(result, Ok(()));
    std::fs::write(fifo, "go\n").unwrap();
}

#[test]
fn a_time_limit_ends_the_whole_group() {
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    let p = pids.to_str().unwrap();
    // A child and a grandchild that ignore SIGTERM.
    let command = format!(
        "trap '' TERM; sh -c 'trap \"\" TERM; echo $$ >>{p}; sleep 60' & echo $$ >>{p}; wait"
    );
    let (result, _) = run(&command, "5", Level::Error);
    assert!(result.is_err());
    let pids = std::fs::read_to_string(pids).unwrap();
    assert_eq!(pids.lines().count(), 2);
    for pid in pids.lines() {
        // Killed: gone, or a zombie that whoever inherited it has not reaped yet. A process dies when
        // it is next given the processor, which it may wait for.
        let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let dead = |stat: &str| stat.is_empty() || stat.contains(") Z ");
        for _ in 0..1200 {
            if dead(&stat()) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        assert!(dead(&stat()), "{}", stat());
    }
}

#[test]
fn commands_see_no_input_and_lead_their_group() {
    let (result, texts) =
        run("read x && exit 1; test \"$(cut -d' ' -f5 /proc/$$/stat)\" = $$", "60", Level::Error);
    assert_eq!(result, Ok(()), "{texts:?}");
}

#[test]
fn values_are_logged_as_data() {
    let bench = Bench::new();
    let spec = spec("act", &[("actionban", "echo <F-USER> >&2; exit 1")]);
    let mut t = ticket("1.2.3.4");
    t.fields.set("user", "x\n2026 NOTICE [j] Ban 9.9.9.9".into());
    bench.send_ticket(1, &spec, ActionOp::Ban, Some(t));
    let (_, result, _) = bench.outcome();
    assert_eq!(result, Err("Error banning 1.2.3.4".into()));
    for text in bench.texts(Level::Error) {
        assert!(!text.contains("\n2026"), "{text}");
    }
}

#[test]
fn ignore_commands_answer_with_their_status() {
    let past: PastBansFn = Arc::new(|_, _| None);
    let run = ignore_command(Arc::new(|_| {}), past);
    for (command, expected) in [
        ("test <ip> = 1.2.3.4", 0),
        ("test <family> = inet6", 1),
        ("exit 7", 7),
        ("test '<jail.name>' = j1", 0),
        ("kill -9 $$", -9),
    ] {
        assert_eq!(run("j1", command, &Arc::new(ticket("1.2.3.4"))), Ok(expected), "{command}");
    }
}
