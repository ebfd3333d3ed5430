//! `sekisho check` and `--json`: what a change from fail2ban would mean, without a trace; and the
//! server's answers for programs.

use super::*;

fn check(site: &Site, more: &[&str]) -> Said {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", "120", env!("CARGO_BIN_EXE_sekisho"), "check", "-c"]);
    command.arg(site.path("conf")).args(more).output().expect("timeout(1) of coreutils").into()
}

/// Every file's name, length and time of change.
fn traces(dir: &Path) -> Vec<String> {
    let mut out = Vec::new();
    for name in list(dir) {
        let path = dir.join(&name);
        let meta = fs::symlink_metadata(&path).unwrap();
        out.push(format!("{name} {} {:?}", meta.len(), meta.modified().unwrap()));
        if meta.is_dir() {
            out.extend(traces(&path).iter().map(|line| format!("{name}/{line}")));
        }
    }
    out.sort();
    out
}

#[test]
fn says_what_a_change_would_mean() {
    let old = "[Definition]\nfailregex = ^\\s*fail (?P<host>\\S+)$\n";
    for (name, jails, filter, code, expected) in [
        ("all well", "[alpha]\n", "", 0, vec!["jail alpha: ", "alpha.log; record", "Ready"]),
        (
            "no filter",
            "[alpha]\n[beta]\nfilter = nosuch\n",
            "",
            255,
            vec![
                "Does not work",
                "jail.conf:",
                "jail beta does not guard",
                "nosuch",
                "1 to be mended",
            ],
        ),
        (
            "section twice",
            "[alpha]\n[alpha]\nmaxretry = 3\n",
            "",
            0,
            vec!["Better than now", "jail.conf:", "the two are merged"],
        ),
        (
            "no log yet",
            "[alpha]\n[beta]\nlogpath = /nonexistent/beta.log\n",
            "",
            0,
            vec!["jail beta waits for /nonexistent/beta.log"],
        ),
        ("an old filter", "[alpha]\n", old, 0, vec!["(?P<host>", "since 0.10"]),
        ("nothing on", "[alpha]\nenabled = false\n", "", 0, vec!["nothing is guarded"]),
    ] {
        let site = Site::new();
        site.jails(jails);
        if !filter.is_empty() {
            site.write("conf/filter.d/t.conf", filter);
        }
        let before = traces(site.dir.path());
        let said = check(&site, &[]);
        assert_eq!(said.code, code, "{name}: {}", said.text);
        said.has(&expected);
        assert_eq!(traces(site.dir.path()), before, "{name}: something was changed");
    }
    let site = Site::empty();
    check(&site, &[]).exits(255).has(&[
        "no accessible config files for 'jail'",
        "Does not work",
        "name with -c the folder that holds jail.conf",
    ]);
    check(&site, &["--nosuch"]).exits(255).has(&["there is no option '--nosuch'", "Usage"]);
}

/// Whoever reads has seen enough: that is no failure. A full disk is one, and neither is a panic.
#[test]
fn nobody_has_to_read_all_of_it() {
    let site = Site::new();
    site.jails("[alpha]\n");
    let commands =
        ["check -c conf", "check -h", "run -h", "-h", "manual", "completion bash", "-d -c conf"];
    for line in commands {
        let ended = |out: std::process::Stdio| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_sekisho"));
            let child = command.args(line.split(' ')).current_dir(site.dir.path()).stdout(out);
            child.stderr(std::process::Stdio::piped()).spawn().unwrap().wait_with_output().unwrap()
        };
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let full = fs::File::create("/dev/full").unwrap();
        for (out, code) in [(writer.into(), 0), (full.into(), 255)] {
            let ended = ended(out);
            let said = String::from_utf8_lossy(&ended.stderr);
            assert_eq!(ended.status.code(), Some(code), "{line}: {said}");
            assert!(!said.contains("panicked"), "{line}: {said}");
            assert_eq!(said.contains("cannot write to standard output: "), code == 255, "{line}");
        }
    }
}

#[test]
fn looks_at_database_and_server() {
    let site = Site::new();
    site.start();
    site.attack("192.0.2.1");
    site.until_banned("192.0.2.1");
    site.client("add byhand polling").exits(0);
    check(&site, &[])
        .exits(255)
        .has(&["1.1.1 runs now with 2 jails", "jail byhand runs now and is in no file"]);
    let json = check(&site, &["--json"]).exits(255).text.clone();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["broken"].as_array().unwrap().len(), 1, "{json}");
    site.client("stop").exits(0);
    let before = traces(site.dir.path());
    check(&site, &[])
        .exits(0)
        .has(&["1 bans and 1 log positions are taken over", "no server runs now"]);
    assert_eq!(traces(site.dir.path()), before);
    site.jails("[gamma]\n");
    check(&site, &[]).exits(0).has(&["0 bans and", "1 bans of jail alpha stay in the database"]);
    site.write(
        "db.sqlite",
        "no database at all, only some text that is long enough to be a header",
    );
    check(&site, &[]).exits(255).has(&["db.sqlite cannot be read: file is not a database"]);
}

#[test]
fn answers_for_programs() {
    let site = Site::new();
    site.start();
    site.attack("192.0.2.1");
    site.until_banned("192.0.2.1");
    let sekisho = |args: &str| site.run(env!("CARGO_BIN_EXE_sekisho"), args);
    let parsed = |args: &str| -> serde_json::Value {
        let said = sekisho(args);
        said.exits(0);
        serde_json::from_str(&said.text).unwrap_or_else(|e| panic!("{args}: {e}: {}", said.text))
    };
    let all = parsed("status --json");
    assert_eq!(all["jail_list"], serde_json::json!(["alpha"]));
    assert_eq!(
        all["jails"]["alpha"]["actions"]["banned_ip_list"],
        serde_json::json!(["192.0.2.1"])
    );
    assert_eq!(parsed("status alpha --json"), all["jails"]["alpha"]);
    assert_eq!(parsed("stats --json")["alpha"][2], serde_json::json!([1, 1]));
    let banned = parsed("banned --json");
    assert_eq!(banned[0]["ip"], "192.0.2.1");
    assert_eq!(banned[0]["seconds"], 3600);
    let unknown = sekisho("status nosuch --json");
    unknown.exits(255).has(&["NOK: ('nosuch',)", "Sorry but the jail 'nosuch' does not exist"]);
    sekisho("set alpha").exits(255).has(&["Words are missing; `sekisho -h` lists"]);
    sekisho("unban --json 192.0.2.1").exits(255).has(&["--json goes with"]);
    assert_eq!(site.banned(), "192.0.2.1");
    // Under fail2ban's names the word is fail2ban's: a name of a jail, here.
    site.client("status --json").exits(255);
}
