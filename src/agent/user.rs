//! Who `User` of an image configuration is, by the image's own `/etc/passwd` and `/etc/group`.
//!
//! The files belong to the image, so they are read as what they are: anything. Only regular files count, only their
//! first MiB is read, and a number must be an id that exists in a sandbox (0 to 65,535).

use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

const MAX_BYTES: u64 = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub home: String,
}

/// Resolves `user[:group]`; must run inside the sandbox's root.
///
/// # Errors
/// A sentence that says which part is not known, for the sandbox's status.
pub fn resolve(spec: &str) -> Result<Identity, String> {
    resolve_in(spec, &read_database("/etc/passwd"), &read_database("/etc/group"))
}

fn resolve_in(spec: &str, passwd: &str, group: &str) -> Result<Identity, String> {
    let (user, group_part) = match spec.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (spec, None),
    };
    let user = if user.is_empty() && group_part.is_none() { "0" } else { user };
    let entry = passwd_entry(user, passwd);
    let uid = match (&entry, number(user)) {
        (Some(entry), _) => entry.uid,
        (None, Some(uid)) => uid,
        (None, None) => {
            return Err(format!("user {user:?} is neither in the image's /etc/passwd nor an id of 0 to 65535"));
        }
    };
    let gid = match group_part {
        Some(name) => group_id(name, group)?,
        None => entry.as_ref().map_or(0, |entry| entry.gid),
    };
    let name = entry.as_ref().map_or(user, |entry| entry.name.as_str());
    // A group that was named replaces the user's own supplementary groups, as with Docker.
    let groups = if group_part.is_some() { vec![gid] } else { memberships(name, gid, group) };
    let home = entry.map_or_else(|| "/".to_owned(), |entry| entry.home);
    Ok(Identity { uid, gid, groups, home })
}

#[derive(Debug)]
struct Entry {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

fn passwd_entry(user: &str, passwd: &str) -> Option<Entry> {
    let wanted = number(user);
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, ..] = fields.as_slice() else { return None };
        let (uid, gid) = (number(uid)?, number(gid)?);
        let home = if home.is_empty() { "/" } else { home };
        let entry = || Entry { name: (*name).to_owned(), uid, gid, home: home.to_owned() };
        (*name == user || wanted == Some(uid)).then(entry)
    })
}

fn group_id(name: &str, group: &str) -> Result<u32, String> {
    let by_name = group.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [entry, _, gid, ..] = fields.as_slice() else { return None };
        (*entry == name).then(|| number(gid)).flatten()
    });
    by_name
        .or_else(|| number(name))
        .ok_or_else(|| format!("group {name:?} is neither in the image's /etc/group nor an id of 0 to 65535"))
}

fn memberships(user: &str, primary: u32, group: &str) -> Vec<u32> {
    let mut groups = vec![primary];
    for line in group.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        if let [_, _, gid, members, ..] = fields.as_slice()
            && members.split(',').any(|member| member == user)
            && let Some(gid) = number(gid)
            && !groups.contains(&gid)
            && groups.len() < 64
        {
            groups.push(gid);
        }
    }
    groups
}

/// A plain decimal id that a sandbox has: no sign, no space, no wrap-around.
fn number(text: &str) -> Option<u32> {
    let plain = !text.is_empty() && text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok().filter(|id| *id <= 65_535) } else { None }
}

/// The first MiB of a regular file as text; a file that is missing or something else is empty.
fn read_database(path: &str) -> String {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let Ok(file) = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path) else {
        return String::new();
    };
    // A link to a file of /proc must not be believed: its content is not the image's.
    let in_proc =
        nix::sys::statfs::fstatfs(&file).is_ok_and(|fs| fs.filesystem_type() == nix::sys::statfs::PROC_SUPER_MAGIC);
    if in_proc || !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return String::new();
    }
    let mut bytes = Vec::new();
    match file.take(MAX_BYTES).read_to_end(&mut bytes) {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:w:/var/www:/bin/false\nbad:x:70000:1::/:\nshort:x\n";
    const GROUP: &str = "root:x:0:\nweb:x:34:\nextra:x:99:web,other\nhuge:x:4294967296:web\n";

    fn ids(spec: &str) -> Result<(u32, u32, Vec<u32>), String> {
        resolve_in(spec, PASSWD, GROUP).map(|who| (who.uid, who.gid, who.groups))
    }

    #[test]
    fn names_and_numbers_resolve_as_with_docker() {
        assert_eq!(ids(""), Ok((0, 0, vec![0])));
        assert_eq!(ids("web"), Ok((33, 34, vec![34, 99])));
        assert_eq!(ids("33"), Ok((33, 34, vec![34, 99])));
        assert_eq!(ids("web:extra"), Ok((33, 99, vec![99])));
        assert_eq!(ids("1000"), Ok((1000, 0, vec![0])));
        assert_eq!(ids("1000:1000"), Ok((1000, 1000, vec![1000])));
        assert_eq!(resolve_in("web", PASSWD, GROUP).map(|who| who.home), Ok("/var/www".to_owned()));
    }

    #[test]
    fn nothing_else_becomes_an_id() {
        for bad in [
            "-1",
            "4294967295",
            "4294967296",
            "2147483648",
            "0x0",
            " 0",
            "root:",
            ":0",
            "1:9999999999",
            "bad",
            "nobody",
            "0 ",
        ] {
            assert!(ids(bad).is_err(), "{bad:?} gave {:?}", ids(bad));
        }
    }
}
