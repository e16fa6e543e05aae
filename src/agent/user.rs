//! Who `User` of an image configuration is, by the image's own `/etc/passwd` and `/etc/group`.
//!
//! The files belong to the image, so they are read as what they are: anything. Only regular files count, only their
//! first MiB is read, and a number must be an id that exists in a sandbox (0 to 65,535).

use std::collections::HashMap;
use std::io::Read;
use std::os::fd::AsFd;
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

/// The names of a sandbox's users and groups, as its files have them now.
#[derive(Debug)]
pub struct Names {
    passwd: String,
    group: String,
    /// By number, so that a list of many files is told in one pass.
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Names {
    #[must_use]
    pub fn read() -> Self {
        Self::of(read_database("/etc/passwd"), read_database("/etc/group"))
    }

    fn of(passwd: String, group: String) -> Self {
        let (users, groups) = (by_number(&passwd), by_number(&group));
        Self { passwd, group, users, groups }
    }

    /// The name, or else the number.
    #[must_use]
    pub fn user(&self, id: u32) -> String {
        self.users.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }

    #[must_use]
    pub fn group(&self, id: u32) -> String {
        self.groups.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }

    /// # Errors
    /// A sentence, when it is neither a name that is known nor an id.
    pub fn user_id(&self, name: &str) -> Result<u32, String> {
        let unknown = || format!("user {name:?} is neither in the sandbox's /etc/passwd nor an id of 0 to 65535");
        let entry = self.passwd.lines().find_map(|line| named(line, name));
        entry.or_else(|| number(name)).ok_or_else(unknown)
    }

    /// # Errors
    /// As [`user_id`](Self::user_id).
    pub fn group_id(&self, name: &str) -> Result<u32, String> {
        let unknown = || format!("group {name:?} is neither in the sandbox's /etc/group nor an id of 0 to 65535");
        let entry = self.group.lines().find_map(|line| named(line, name));
        entry.or_else(|| number(name)).ok_or_else(unknown)
    }
}

/// The number of a line of either file, if it is of this name.
fn named(line: &str, name: &str) -> Option<u32> {
    let mut fields = line.split(':');
    (fields.next() == Some(name)).then(|| number(fields.nth(1)?)).flatten()
}

/// Of several names for one number, the first counts.
fn by_number(database: &str) -> HashMap<u32, String> {
    /// Longer names than any system makes.
    const NAME_CHARS: usize = 256;
    let mut names = HashMap::new();
    for line in database.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(id)) = (fields.next(), fields.nth(1).and_then(number)) {
            names.entry(id).or_insert_with(|| name.chars().take(NAME_CHARS).collect());
        }
    }
    names
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
    if crate::sys::is_of_kernel(file.as_fd()) || !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
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
    fn files_are_told_of_by_name_and_by_number() {
        let names = Names::of(PASSWD.to_owned(), GROUP.to_owned());
        assert_eq!((names.user(33), names.group(99), names.user(77)), ("web".into(), "extra".into(), "77".into()));
        assert_eq!((names.user_id("web"), names.group_id("web"), names.group_id("7")), (Ok(33), Ok(34), Ok(7)));
        for unknown in ["", "bad", "short", "70000", "-1", "nobody"] {
            assert!(names.user_id(unknown).is_err(), "{unknown}");
        }
        assert!(names.group_id("huge").is_err());
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
