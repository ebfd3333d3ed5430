//! Where a path is: the directory to watch for it, and the kind of file system it is on.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Links that are followed on one way.
const LINKS_MAX: usize = 40;

/// The entries of directories that lead to a path: every symbolic link on the way and the file
/// itself, or, where the way ends too early, the first entry that is missing. Whatever changes where
/// the path leads changes one of them.
pub fn entries(path: &Path) -> Vec<(PathBuf, OsString)> {
    let mut found = Vec::new();
    let mut at = PathBuf::new();
    let mut rest: VecDeque<OsString> = parts(path);
    let mut links = 0;
    while let Some(part) = rest.pop_front() {
        let next = at.join(&part);
        let dir = || if at == Path::new("") { PathBuf::from(".") } else { at.clone() };
        match std::fs::read_link(&next) {
            Ok(target) if links < LINKS_MAX => {
                links += 1;
                found.push((dir(), part));
                for part in parts(&target).into_iter().rev() {
                    rest.push_front(part);
                }
                continue;
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                found.push((dir(), part));
                return found;
            }
            _ if rest.is_empty() => found.push((dir(), part)),
            _ => {}
        }
        at = next;
    }
    found
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components().map(|part| part.as_os_str().to_owned()).collect()
}

/// The name of a file system whose changes may come from another machine or past the kernel, so that
/// inotify does not report them.
pub fn remote_kind(file: &File) -> Option<&'static str> {
    named(rustix::fs::fstatfs(file).ok()?.f_type as u32)
}

/// By the number that `statfs` gives it.
fn named(magic: u32) -> Option<&'static str> {
    Some(match magic {
        0x6969 => "nfs",
        0x517B => "smb",
        0xFF53_4D42 => "cifs",
        0xFE53_4D42 => "smb2",
        0x564C => "ncp",
        // virtiofs as well, and all that is mounted through FUSE (sshfs, glusterfs, s3fs, …).
        0x6573_5546 => "fuse",
        0x0102_1997 => "9p",
        0x00C3_6400 => "ceph",
        0x5346_414F | 0x6B41_4653 => "afs",
        0x7375_7245 => "coda",
        0x0BD0_0BD0 => "lustre",
        0x4750_4653 => "gpfs",
        0x1983_0326 => "beegfs",
        0x2003_0528 => "orangefs",
        0xAAD7_AAEA => "panfs",
        0x6163_6673 => "acfs",
        0x013A_51D0 => "ibrix",
        0x786F_4256 => "vboxsf",
        0x7C7C_6673 => "prl_fs",
        0xBACB_ACBC => "vmhgfs",
        0x7461_636F => "ocfs2",
        0x0116_1970 => "gfs2",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems() {
        // The numbers are those of linux/magic.h and of stat(1).
        for (magic, name) in [
            (0x6969, Some("nfs")),
            (0xFF53_4D42, Some("cifs")),
            (0x6573_5546, Some("fuse")),
            (0xEF53, None),      // ext4
            (0x0102_1994, None), // tmpfs
            (0x9123_683E, None), // btrfs
            (0x5846_5342, None), // xfs
            (0x794C_7630, None), // overlayfs
        ] {
            assert_eq!(named(magic), name, "{magic:x}");
        }
        assert_eq!(remote_kind(&File::open("/proc/self/stat").unwrap()), None);
    }

    #[test]
    fn what_leads_to_a_path() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for made in ["one", "two", "deep/er"] {
            std::fs::create_dir_all(root.join(made)).unwrap();
        }
        std::fs::write(root.join("two/log"), "").unwrap();
        for (link, target) in [
            ("current", "two"),
            ("abs", &*root.join("one").to_string_lossy()),
            ("one/log", "../current/log"),
            ("deep/er/gone", "../../one/nothing"),
            ("self", "self"),
        ] {
            std::os::unix::fs::symlink(target, root.join(link)).unwrap();
        }
        let check = |path: &str, expected: &[&str]| {
            let got: Vec<String> = entries(&root.join(path))
                .iter()
                .map(|(dir, name)| dir.join(name).strip_prefix(root).unwrap().display().to_string())
                .collect();
            assert_eq!(got, expected, "{path}");
        };
        check("two/log", &["two/log"]);
        check("current/log", &["current", "two/log"]);
        check("abs/log", &["abs", "one/log", "one/../current", "one/../two/log"]);
        check("one/other", &["one/other"]);
        check("no/such/log", &["no"]);
        check("deep/er/gone", &["deep/er/gone", "deep/er/../../one/nothing"]);
        assert_eq!(entries(&root.join("self")).len(), LINKS_MAX + 1);
        assert_eq!(entries(Path::new("no-such-log")), [(".".into(), "no-such-log".into())]);
    }
}
