//! What a step called and left behind.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// `called` and every file below `files`, with the folder's name replaced.
pub type Seen = BTreeMap<String, String>;

/// Forgets the last step and says what goes wrong in the next.
pub fn renew(folder: &Path, trouble: Option<&str>) {
    for name in ["record", "count", "trouble"] {
        let _ = fs::remove_file(folder.join(name));
    }
    if let Some(trouble) = trouble {
        fs::write(folder.join("trouble"), format!("{trouble}\n")).unwrap();
    }
}

/// What the step called and left behind.
pub fn left_behind(folder: &Path) -> Seen {
    let mut seen = Seen::new();
    let record = fs::read(folder.join("record")).unwrap_or_default();
    seen.insert("called".to_owned(), text(&record, folder));
    files(&folder.join("files"), folder, &mut seen);
    seen
}

fn text(bytes: &[u8], folder: &Path) -> String {
    String::from_utf8_lossy(bytes).replace(folder.to_str().unwrap(), "%D")
}

fn files(below: &Path, folder: &Path, seen: &mut Seen) {
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, folder, seen);
        } else {
            let name = path.strip_prefix(folder.join("files")).unwrap().to_str().unwrap();
            seen.insert(name.to_owned(), text(&fs::read(&path).unwrap(), folder));
        }
    }
}
