//! Finding rotated files beside a log: `NAME.1`, `NAME-20261122`, newest first.
//!
//! Used when a log was rotated unseen (while we were down, or several times between two looks), so
//! that its rest is read before the new file. Names only propose; the caller's test on the content
//! or inode decides. Compressed files are not read. Must stay bounded: a directory may be huge.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::encoding::Encoding;
use super::reader::Reader;

/// How many rotated files are looked at, newest first, for each naming scheme.
const LOOK_MAX: usize = 16;
/// How many names of a directory are read.
const NAMES_MAX: usize = 20_000;

/// A rotated file found, and what was rotated after it.
#[derive(Debug)]
pub struct Chain {
    /// The file that passed the test.
    pub found: Reader,
    /// The files rotated after it, oldest first.
    pub newer: Vec<Reader>,
}

/// The newest rotated file of `path` that passes `test`, with all that are newer.
pub fn chain(
    path: &Path,
    encoding: Encoding,
    mut test: impl FnMut(&mut Reader) -> bool,
) -> Option<Chain> {
    for names in rotated(path) {
        let mut newer = Vec::new();
        for name in names.into_iter().take(LOOK_MAX) {
            let Ok(mut reader) = Reader::open(&name, encoding) else { continue };
            if test(&mut reader) {
                newer.reverse();
                return Some(Chain { found: reader, newer });
            }
            newer.push(reader);
        }
    }
    None
}

/// The rotated files of `path`: those numbered and those dated, each newest first.
fn rotated(path: &Path) -> [Vec<PathBuf>; 2] {
    let mut numbered: Vec<(u64, PathBuf)> = Vec::new();
    let mut dated: Vec<(Vec<u8>, PathBuf)> = Vec::new();
    if let Some(name) = path.file_name()
        && let Ok(entries) = std::fs::read_dir(directory(path))
    {
        for entry in entries.take(NAMES_MAX).flatten() {
            let file = entry.file_name();
            match suffix(name, &file) {
                Some((b'.', digits)) if digits.len() < 6 => {
                    let number = std::str::from_utf8(digits).ok().and_then(|d| d.parse().ok());
                    numbered.extend(number.map(|n| (n, entry.path())));
                }
                Some((_, date)) => dated.push((date.to_vec(), entry.path())),
                None => {}
            }
        }
    }
    numbered.sort();
    dated.sort();
    [
        numbered.into_iter().map(|(_, path)| path).collect(),
        dated.into_iter().rev().map(|(_, path)| path).collect(),
    ]
}

/// The directory a path's name is in.
pub fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    }
}

/// Whether `path` is named as a rotated file of `log`.
pub fn is_rotated_name(log: &Path, path: &Path) -> bool {
    log.file_name().zip(path.file_name()).is_some_and(|(a, b)| suffix(a, b).is_some())
        && directory(log) == directory(path)
}

/// The separator and the number or date behind a log's name.
fn suffix<'a>(name: &OsStr, file: &'a OsStr) -> Option<(u8, &'a [u8])> {
    let rest = file.as_bytes().strip_prefix(name.as_bytes())?;
    let (&separator, rest) = rest.split_first()?;
    let numeric = rest.iter().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.' | b'T'));
    let starts = rest.first().is_some_and(u8::is_ascii_digit);
    (matches!(separator, b'.' | b'-' | b'_') && starts && numeric).then_some((separator, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_newest_first() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "a.log",
            "a.log.1",
            "a.log.2",
            "a.log.10",
            "a.log.3.gz",
            "a.log.old",
            "a.log-20261122",
            "a.log-20261121",
            "a.log-20261122-01.gz",
            "a.logger.1",
            "b.log.1",
        ] {
            std::fs::write(dir.path().join(name), "x\n").unwrap();
        }
        let [numbered, dated] = rotated(&dir.path().join("a.log")).map(|list| {
            list.into_iter()
                .map(|p| p.file_name().unwrap().to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        });
        assert_eq!(numbered, ["a.log.1", "a.log.2", "a.log.10"]);
        assert_eq!(dated, ["a.log-20261122", "a.log-20261121"]);
    }
}
