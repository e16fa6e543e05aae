//! What there is of a daemon and its sandboxes on the host, so that two looks can be compared.
//!
//! Tests run beside each other, so this looks only at what belongs to one daemon: what is named by its directory or by
//! its cgroup, and what its programs hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::able::cgroup_mounts;

/// How often each line is there, by what it is of. Ids of sandboxes and numbers of processes are left out of the lines:
/// prepared sandboxes take the place of used ones all the time, and what matters is that they are as many as before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    sections: BTreeMap<&'static str, BTreeMap<String, usize>>,
}

impl Snapshot {
    /// `dir` holds the daemon's directories, `cgroup` is its own in every hierarchy.
    pub fn take(dir: &Path, cgroup: &str, daemon: Option<i32>) -> Self {
        let programs: Vec<i32> = programs_of(dir).into_iter().chain(daemon).collect();
        let sections: [(&str, Vec<String>); 8] = [
            ("mounts of the host", mounts("/proc/self/mountinfo", dir)),
            (
                "mounts of the launcher",
                programs.iter().flat_map(|pid| mounts(&format!("/proc/{pid}/mountinfo"), dir)).collect(),
            ),
            ("cgroups", cgroups(cgroup)),
            ("processes", programs.iter().flat_map(|pid| children(*pid, &programs)).collect()),
            ("network links", names(Path::new("/sys/class/net")).into_iter().collect()),
            ("descriptors", programs.iter().flat_map(|pid| descriptors(*pid)).collect()),
            ("files", files(dir)),
            ("ids", foreign_processes(cgroup)),
        ];
        Self { sections: sections.into_iter().map(|(name, lines)| (name, counted(lines))).collect() }
    }

    /// What was added to `before` and what is missing from it, in words.
    pub fn differences(&self, before: &Self) -> Vec<String> {
        let mut all = Vec::new();
        for (name, lines) in &self.sections {
            let earlier = &before.sections[name];
            for line in lines.keys().chain(earlier.keys()).collect::<BTreeSet<_>>() {
                let (was, is) = (earlier.get(line).unwrap_or(&0), lines.get(line).unwrap_or(&0));
                if was != is {
                    all.push(format!("{name}: {was} before, {is} now: {line}"));
                }
            }
        }
        all
    }

    /// How many sandboxes have a cgroup of their own in the version 2 hierarchy, prepared ones among them.
    pub fn sandboxes(&self) -> usize {
        self.sections["cgroups"].iter().filter(|(path, _)| path.ends_with("/ID/workload")).map(|(_, count)| count).sum()
    }
}

fn counted(lines: Vec<String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in lines {
        *counts.entry(without_ids(&line)).or_default() += 1;
    }
    counts
}

/// The line with `ID` for each sandbox id in it.
fn without_ids(line: &str) -> String {
    let is_id = |part: &str| part.len() == 36 && part.bytes().filter(|byte| *byte == b'-').count() == 4;
    let parts = line.split_inclusive(['/', ' ', ',']).map(|part| {
        let bare = part.trim_end_matches(['/', ' ', ',']);
        if is_id(bare) { part.replace(bare, "ID") } else { part.to_owned() }
    });
    parts.collect()
}

/// `bivouac-init` programs that were started for this directory (it is an argument or a variable of theirs).
pub fn programs_of(dir: &Path) -> Vec<i32> {
    let wanted = dir.to_string_lossy().into_owned();
    let ours = |pid: &i32| {
        let read = |name: &str| {
            let bytes = fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let line = read("cmdline");
        // The launcher keeps its directory off its command line, where sandboxes would see it.
        let named = line.contains(&wanted) || read("environ").contains(&wanted);
        line.contains("bivouac-init") && named && !is_inside(*pid)
    };
    all_processes().into_iter().filter(ours).collect()
}

/// PID 1 of a sandbox is a clone of the launcher and shows its command line.
fn is_inside(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    numbers.is_some_and(|numbers| numbers.split_whitespace().count() > 1)
}

fn all_processes() -> Vec<i32> {
    names(Path::new("/proc")).iter().filter_map(|name| name.parse().ok()).collect()
}

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn mounts(table: &str, dir: &Path) -> Vec<String> {
    let text = fs::read_to_string(table).unwrap_or_default();
    let dir = dir.to_string_lossy();
    // Without the numbers of mount and parent, which are new with each.
    let line = |line: &str| line.splitn(3, ' ').nth(2).unwrap_or_default().to_owned();
    text.lines().filter(|line| line.contains(&*dir)).map(line).collect()
}

fn cgroups(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (_, mount) in cgroup_mounts() {
        walk(&mount.join(name), &mut |path| {
            if path.is_dir() {
                found.push(path.display().to_string());
            }
        });
    }
    found
}

/// Processes below one of the programs that are not programs themselves: sandboxes.
fn children(pid: i32, programs: &[i32]) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let pids = text.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok());
    // The namespace maker has no argument that names the directory.
    let helper = |pid: &i32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.ends_with(b"namespaces\0"));
    pids.filter(|pid| !programs.contains(pid) && !helper(pid)).map(|_| format!("a child of {pid}")).collect()
}

/// How many descriptors of each kind a program has.
fn descriptors(pid: i32) -> Vec<String> {
    let mut kinds: BTreeMap<String, u32> = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
        let target = fs::read_link(entry.path()).map(|path| path.display().to_string()).unwrap_or_default();
        // `net:[4026531840]`, `anon_inode:[eventpoll]`, a path.
        let kind = if target.starts_with('/') { "file" } else { target.trim_end_matches(|c: char| !c.is_alphabetic()) };
        // Connections come and go with the clients, and with them what the runtime needs to wait for files.
        if !kind.starts_with("socket") {
            *kinds.entry(kind.to_owned()).or_default() += 1;
        }
    }
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    kinds.into_iter().map(|(kind, count)| format!("{} {pid}: {count} {kind}", name.trim())).collect()
}

fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    walk(dir, &mut |path| {
        let owner = path.symlink_metadata().map(|metadata| metadata.uid()).unwrap_or_default();
        found.push(format!("{} of {owner}", path.display()));
    });
    found
}

fn walk(dir: &Path, see: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        see(&path);
        if path.is_dir() && !path.is_symlink() {
            walk(&path, see);
        }
    }
}

/// Processes in this daemon's cgroups, with the host id they run as.
fn foreign_processes(cgroup: &str) -> Vec<String> {
    let inside = |pid: &i32| {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        text.lines().any(|line| line.split(['/', ':']).any(|part| part == cgroup))
    };
    let owner = |pid: i32| fs::metadata(format!("/proc/{pid}")).map(|metadata| metadata.uid()).unwrap_or_default();
    all_processes()
        .into_iter()
        .filter(inside)
        .map(|pid| if owner(pid) < 1 << 30 { "of the host".to_owned() } else { "of a range".to_owned() })
        .collect()
}
