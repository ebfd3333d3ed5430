//! Small configurations in one text file: `=== name` begins a tree, `--- path` a file of it.
//!
//! `@DIR@` stands for the folder of the tree, `\xNN` for that byte, a last line `\` for the lack of a
//! line feed at the end. `--- path -> target` is a symbolic link. `--- expected LABEL` says what we
//! make of the tree where that is not what fail2ban makes of it, and why: the label is a row of
//! docs/COMPAT.md, or `fatal` (both refuse, only our words are of interest), or `old` (fail2ban
//! before 1.1.1 makes something else of it).
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, dead_code)]

use std::path::Path;

/// One configuration.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// Its name.
    pub name: String,
    /// Paths and contents.
    pub files: Vec<(String, String)>,
    /// Why we differ, and what we say.
    pub expected: Option<(String, String)>,
}

impl Tree {
    /// The content of a file.
    pub fn file(&self, path: &str) -> Option<&str> {
        self.files.iter().find(|(name, _)| name == path).map(|(_, text)| text.as_str())
    }

    /// Writes the files below `dir`, with a `fail2ban.conf` where there is none.
    pub fn write(&self, dir: &Path) {
        std::fs::create_dir_all(dir).unwrap();
        if self.file("fail2ban.conf").is_none() {
            super::write(dir, "fail2ban.conf", b"[Definition]\n");
        }
        let here = dir.to_str().unwrap();
        for (path, text) in &self.files {
            if let Some((link, target)) = path.split_once(" -> ") {
                let link = dir.join(link);
                std::fs::create_dir_all(link.parent().unwrap()).unwrap();
                std::os::unix::fs::symlink(target.replace("@DIR@", here), link).unwrap();
            } else {
                super::write(dir, path, &bytes(&text.replace("@DIR@", here)));
            }
        }
    }
}

fn bytes(text: &str) -> Vec<u8> {
    let text = text.strip_suffix("\\\n").map_or(text, |text| text.trim_end_matches('\n'));
    let mut parts = text.split("\\x");
    let mut out = parts.next().unwrap_or("").as_bytes().to_vec();
    for part in parts {
        match part.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                out.extend_from_slice(&part.as_bytes()[2..]);
            }
            None => out.extend_from_slice(format!("\\x{part}").as_bytes()),
        }
    }
    out
}

/// Reads all trees of a text.
pub fn parse(text: &str) -> Vec<Tree> {
    let mut trees: Vec<Tree> = Vec::new();
    let mut in_expected = false;
    for line in text.split_inclusive('\n') {
        if let Some(name) = line.strip_prefix("=== ") {
            let name = name.trim().to_owned();
            assert!(trees.iter().all(|t| t.name != name), "two trees are called {name}");
            trees.push(Tree { name, ..Tree::default() });
            in_expected = false;
            continue;
        }
        let Some(tree) = trees.last_mut() else { continue };
        if let Some(label) = line.strip_prefix("--- expected ") {
            tree.expected = Some((label.trim().to_owned(), String::new()));
            in_expected = true;
        } else if let Some(path) = line.strip_prefix("--- ") {
            assert!(tree.file(path.trim()).is_none(), "{}: {path}", tree.name);
            tree.files.push((path.trim().to_owned(), String::new()));
            in_expected = false;
        } else if in_expected {
            tree.expected.as_mut().unwrap().1.push_str(line);
        } else {
            tree.files.last_mut().expect("a line outside a file").1.push_str(line);
        }
    }
    trees
}
