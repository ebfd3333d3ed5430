//! The real file system, as the configuration reader sees it.
//!
//! A file that never ends (a pipe, a device) must not hold a start up, so reading is bounded.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use sekisho_config::files::{Files, Kind, ReadError};

/// The largest configuration file.
const MAX_BYTES: u64 = 16 << 20;

/// The real file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        let refused = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => ReadError::NotFound,
            _ => ReadError::Refused(error.to_string()),
        };
        let kind = fs::metadata(path).map_err(refused)?.file_type();
        if kind.is_fifo() {
            return Err(ReadError::Refused("it is a pipe, not a file".to_owned()));
        }
        let mut content = Vec::new();
        let file = File::open(path).map_err(refused)?;
        file.take(MAX_BYTES + 1).read_to_end(&mut content).map_err(refused)?;
        if content.len() as u64 > MAX_BYTES {
            return Err(ReadError::Refused("it is larger than 16 MiB".to_owned()));
        }
        Ok(content)
    }

    fn kind(&self, path: &str) -> Option<Kind> {
        match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => Some(Kind::Dir),
            Ok(_) => Some(Kind::File),
            Err(_) => Path::new(path).symlink_metadata().ok().map(|_| Kind::Dangling),
        }
    }

    fn list(&self, dir: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(if dir.is_empty() { "." } else { dir }) else {
            return Vec::new();
        };
        entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        fs::write(path("a"), "x").unwrap();
        std::os::unix::fs::symlink("/nonexistent", path("link")).unwrap();
        for (name, kind) in [
            ("a", Some(Kind::File)),
            ("", Some(Kind::Dir)),
            ("link", Some(Kind::Dangling)),
            ("b", None),
        ] {
            assert_eq!(Disk.kind(&path(name)), kind, "{name}");
        }
        assert_eq!(Disk.read(&path("a")), Ok(b"x".to_vec()));
        assert_eq!(Disk.read(&path("b")), Err(ReadError::NotFound));
        assert!(matches!(Disk.read(&path("")), Err(ReadError::Refused(_))));
        assert_eq!(Disk.read("/dev/null"), Ok(vec![]));
        assert!(matches!(Disk.read("/dev/zero"), Err(ReadError::Refused(_))));
        let mut names = Disk.list(&path(""));
        names.sort();
        assert_eq!(names, ["a", "link"]);
    }
}
