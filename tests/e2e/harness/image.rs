//! The image of the tests: a static busybox, and the probe that looks at a sandbox from inside.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tar::{Builder, EntryType, Header};

/// The name under which every test's daemon has it.
pub const IMAGE: &str = "test/busybox:latest";

const APPLETS: [&str; 23] = [
    "sh", "sleep", "echo", "cat", "ls", "id", "true", "false", "env", "dd", "head", "tail", "seq", "kill", "test",
    "mkdir", "touch", "chmod", "wc", "yes", "nc", "hostname", "rm",
];

/// The image as a plain root tar, made once.
pub fn archive() -> &'static [u8] {
    static ARCHIVE: OnceLock<Vec<u8>> = OnceLock::new();
    ARCHIVE.get_or_init(build)
}

/// The probe, built by cargo with the tests.
///
/// # Panics
/// When it was not built.
pub fn probe() -> PathBuf {
    let own = std::env::current_exe().expect("the path of this test");
    let path = own.parent().and_then(Path::parent).expect("the build directory").join("examples/probe");
    assert!(path.exists(), "{} is not there; `cargo build --example probe` makes it", path.display());
    path
}

fn build() -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for dir in ["bin", "etc", "proc", "sys", "dev", "tmp", "root", "home", "home/user", "var"] {
        add(&mut tar, dir, EntryType::Directory, if dir == "tmp" { 0o1777 } else { 0o755 }, b"");
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find_map(|path| fs::read(path).ok());
    add(&mut tar, "bin/busybox", EntryType::Regular, 0o755, &busybox.expect("busybox"));
    add(&mut tar, "bin/probe", EntryType::Regular, 0o755, &fs::read(probe()).expect("the probe"));
    add(&mut tar, "bin/not-executable", EntryType::Regular, 0o644, b"#!/bin/sh\n");
    add(
        &mut tar,
        "etc/passwd",
        EntryType::Regular,
        0o644,
        b"root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n",
    );
    add(&mut tar, "etc/group", EntryType::Regular, 0o644, b"root:x:0:\nuser:x:1000:\n");
    for name in APPLETS {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        tar.append_link(&mut header, format!("bin/{name}"), "busybox").expect("a link in memory");
    }
    tar.into_inner().and_then(|mut bytes| bytes.flush().map(|()| bytes)).expect("an archive in memory")
}

fn add(tar: &mut Builder<Vec<u8>>, path: &str, kind: EntryType, mode: u32, content: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    tar.append_data(&mut header, path, content).expect("an entry in memory");
}
