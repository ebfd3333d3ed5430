//! Hostile log lines: none hides the lines behind it, none is executed.

use super::*;

/// The lines are swallowed, and the next attacker is banned.
#[track_caller]
fn survives(bytes: &[u8]) -> Site {
    let site = Site::new();
    site.start();
    site.log(bytes);
    site.log("\n");
    site.attack("192.0.2.1");
    site.until_banned("192.0.2.1");
    site
}

#[test]
fn one_megabyte() {
    survives(&vec![b'x'; 1 << 20]);
    survives(format!("{} fail user={} 192.0.2.5", stamp(), "a".repeat(1 << 20)).as_bytes());
}

#[test]
fn zero_bytes() {
    survives(&[0; 5000]);
    survives(format!("{} fail\0 192.0.2.5\0\n\0", stamp()).as_bytes());
}

#[test]
fn invalid_utf8() {
    survives(b"\xff\xfe\xc3\x28 fail \xf0\x28\x8c\x28");
}

#[test]
fn shell_metacharacters() {
    let site = Site::new();
    let (acts, trap) = (site.path("acts"), site.path("executed"));
    site.write(
        "conf/action.d/quote.conf",
        format!("[Definition]\nactionban = echo <F-USER> '<matches>' >> {}\n", acts.display()),
    );
    site.jails("[alpha]\naction = record[name=alpha]\n         quote\n");
    site.start();
    let t = trap.display();
    for (n, evil) in
        ["$(touch T)", "`touch T`", "';touch T;'", "\";touch T;\"", "|touch T&", "\\';touch T #"]
            .iter()
            .enumerate()
    {
        let evil = evil.replace('T', &t.to_string());
        let ip = format!("192.0.2.{}", n + 1);
        site.log(format!("{} fail user={evil} {ip}\n", stamp()).repeat(5));
        site.until_banned(&ip);
    }
    site.attack("192.0.2.77");
    site.until_banned("192.0.2.77");
    // The values arrived.
    site.until_file("acts", "touch");
    site.client("stop").exits(0);
    assert!(!trap.exists(), "{}", site.read("acts"));
}
