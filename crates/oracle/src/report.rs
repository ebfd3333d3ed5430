//! The table of what was compared: one row per comparison, collected from all test programs.

use std::fs::OpenOptions;
use std::io::Write as _;

/// Adds a row to the table: what was compared with which judge, and how many cases. A difference is
/// a failed test, so all rows in a green run say that there was none. The file that
/// `SEKISHO_REPORT` names collects them; they are printed in any case.
pub fn report(what: &str, judge: &str, cases: usize, unit: &str) {
    let row = format!("| {what} | {judge} | {cases} {unit} |");
    println!("compared: {row}");
    let Some(path) = std::env::var_os("SEKISHO_REPORT") else { return };
    // One write of a short line: test programs may run side by side.
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.and_then(|mut file| file.write_all(format!("{row}\n").as_bytes()))
        .expect("the report can be written");
}
