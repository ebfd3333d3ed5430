//! Where a path is: the directory to watch for it, and the kind of file system it is on.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::siblings;

/// The nearest existing directory of a path, and the name in it that leads to the path.
pub fn nearest(path: &Path) -> (PathBuf, Option<OsString>) {
    let mut at = path;
    loop {
        let dir = siblings::directory(at);
        if dir.is_dir() || dir == at || dir == Path::new(".") {
            return (dir.to_path_buf(), at.file_name().map(OsString::from));
        }
        at = dir;
    }
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
    fn the_nearest_directory() {
        let dir = tempfile::tempdir().unwrap();
        let check = |path: &str, expected: &str| {
            let (near, name) = nearest(&dir.path().join(path));
            assert_eq!((near, name), (dir.path().to_path_buf(), Some(expected.into())), "{path}");
        };
        check("log", "log");
        check("a/b/log", "a");
    }
}
