//! `fail2ban-python`: the interpreter of scripts that import parts of fail2ban, such as the stock
//! `ignorecommands/apache-fakegooglebot`. With fail2ban itself, its modules would be gone.
//!
//! It becomes python3, so options, input, signals and the exit status are Python's own business;
//! none of them may be looked at here. The modules are those that Python actions find; they travel
//! to it as an archive in memory, named in `PYTHONPATH`: so nothing has to be installed anywhere.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::fs::{MemfdFlags, memfd_create};

use crate::action::python::{SHIM, StartError};

/// What shells answer for a program that is not there.
const NOT_FOUND: u8 = 127;
/// And for one that cannot be executed.
const NOT_EXECUTABLE: u8 = 126;
const MODULES: &str = "PYTHONPATH";
/// Where the archive has the one module, from which all others come.
const ENTRY: &str = "fail2ban/__init__.py";

/// Becomes python3 with these arguments; comes back with an exit status if that fails.
pub fn main(args: &[OsString]) -> u8 {
    let archive = match archive_in_memory() {
        Ok(archive) => archive,
        Err(error) => return complain(NOT_EXECUTABLE, &StartError::Io(error)),
    };
    let mut path = OsString::from(format!("/proc/self/fd/{}", archive.as_raw_fd()));
    if let Some(others) = std::env::var_os(MODULES).filter(|others| !others.is_empty()) {
        path.push(":");
        path.push(others);
    }
    // Python opens it; it closes with the process.
    let _ = archive.into_raw_fd();
    let error = Command::new("python3").args(args).env(MODULES, path).exec();
    if error.kind() != io::ErrorKind::NotFound {
        return complain(NOT_EXECUTABLE, &StartError::Io(error));
    }
    let path = std::env::var("PATH").unwrap_or_default();
    complain(NOT_FOUND, &StartError::Missing { path })
}

fn complain(status: u8, error: &StartError) -> u8 {
    let _ = writeln!(io::stderr(), "fail2ban-python: {error}");
    status
}

/// A file without a name that lasts over the change into python3.
fn archive_in_memory() -> io::Result<OwnedFd> {
    let file = memfd_create("fail2ban.zip", MemfdFlags::empty())?;
    let mut file = std::fs::File::from(file);
    file.write_all(&archive(ENTRY, SHIM.as_bytes()))?;
    Ok(file.into())
}

/// A zip archive of one file, as it is. (A library for a few dozen fixed bytes would be many times
/// as long, and Python brings what reads them.)
fn archive(name: &str, text: &[u8]) -> Vec<u8> {
    let mut about = Vec::new();
    // Version 1.0, no flags, not compressed, midnight of 1980-01-01.
    for number in [10_u16, 0, 0, 0, 0x21] {
        about.extend(number.to_le_bytes());
    }
    for number in [checksum(text), text.len() as u32, text.len() as u32, name.len() as u32] {
        // The last one is two numbers: the length of the name, and none of what may follow it.
        about.extend(number.to_le_bytes());
    }
    let file = [b"PK\x03\x04", &about[..], name.as_bytes(), text].concat();
    // No comment, first disk, no attributes, at the beginning of the archive.
    let directory = [b"PK\x01\x02\x0a\0", &about[..], &[0; 14], name.as_bytes()].concat();
    let mut end = b"PK\x05\x06\0\0\0\0\x01\0\x01\0".to_vec();
    end.extend((directory.len() as u32).to_le_bytes());
    end.extend((file.len() as u32).to_le_bytes());
    end.extend([0, 0]);
    [file, directory, end].concat()
}

/// CRC-32 of zip.
fn checksum(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            let low = sum & 1;
            sum = (sum >> 1) ^ (low * 0xEDB8_8320);
        }
    }
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value that every description of it gives as an example.
    #[test]
    fn checksums() {
        assert_eq!(checksum(b"123456789"), 0xCBF4_3926);
        assert_eq!(checksum(b""), 0);
    }
}
