//! A database that cannot be used costs no ban.

use super::*;

#[test]
fn a_corrupt_database_is_kept_aside() {
    let site = Site::new();
    site.write("db.sqlite", "this is no database ".repeat(500));
    site.start();
    site.attack("192.0.2.1");
    site.until_banned("192.0.2.1");
    let names = list(site.dir.path());
    let aside = names.iter().find(|n| {
        n.starts_with("db.sqlite") && { site.read(n).starts_with("this is no database") }
    });
    let aside = aside.unwrap_or_else(|| panic!("nothing is kept: {names:?}"));
    site.until_file("server.log", aside);
    site.client("restart").exits(0);
    site.until_banned("192.0.2.1");
}

#[test]
fn a_database_whose_folder_comes_later() {
    let site = Site::new();
    // A file where the folder belongs: neither root nor anybody else can make it.
    site.write("state", "");
    site.main_conf("state/db.sqlite");
    site.start();
    site.until_file("server.log", "state/db.sqlite");
    site.attack("192.0.2.1");
    site.until_banned("192.0.2.1");
    fs::remove_file(site.path("state")).unwrap();
    fs::create_dir(site.path("state")).unwrap();
    site.attack("192.0.2.2");
    site.until_banned("192.0.2.2");
    site.client("restart").exits(0);
    site.until_banned("192.0.2.1");
    site.until_banned("192.0.2.2");
}

#[test]
fn a_read_only_database() {
    let site = Site::new();
    site.main_conf("state/db.sqlite");
    // A folder in which nobody may create a file, root neither.
    std::os::unix::fs::symlink("/proc/sys", site.path("state")).unwrap();
    site.start();
    site.attack("192.0.2.1");
    site.until_banned("192.0.2.1");
    fs::remove_file(site.path("state")).unwrap();
    fs::create_dir(site.path("state")).unwrap();
    site.client("restart").exits(0);
    site.until_banned("192.0.2.1");
}
