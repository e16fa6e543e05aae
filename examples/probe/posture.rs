//! What this process has: identity, capabilities, namespaces, descriptors, mounts, limits, environment.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use serde_json::{Value, json};

pub fn look() -> Value {
    json!({
        "status": status(),
        "namespaces": links("/proc/self/ns"),
        "descriptors": descriptors(),
        "mounts": mounts(),
        "limits": limits(),
        "cgroup": lines("/proc/self/cgroup"),
        "uid_map": words("/proc/self/uid_map"),
        "gid_map": words("/proc/self/gid_map"),
        "setgroups": words("/proc/self/setgroups"),
        "oom_score_adj": words("/proc/self/oom_score_adj"),
        "hostname": words("/proc/sys/kernel/hostname"),
        "domainname": words("/proc/sys/kernel/domainname"),
        "environment": std::env::vars().collect::<BTreeMap<_, _>>(),
        "cwd": std::env::current_dir().map(|path| path.display().to_string()).unwrap_or_default(),
        "pid": std::process::id(),
        "session": nix::unistd::getsid(None).map(nix::unistd::Pid::as_raw).unwrap_or(-1),
        "devices": devices(),
        "links": names("/sys/class/net"),
        "processes": names("/proc").into_iter().filter(|name| name.parse::<u32>().is_ok()).collect::<Vec<_>>(),
        "root_owner": fs::metadata("/").map(|metadata| [metadata.uid(), metadata.gid()]).unwrap_or_default(),
    })
}

fn status() -> BTreeMap<String, String> {
    let wanted = [
        "Umask",
        "Uid",
        "Gid",
        "Groups",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
        "Seccomp_filters",
        "SigBlk",
        "SigIgn",
        "PPid",
    ];
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    let fields = fields.filter(|(name, _)| wanted.contains(name));
    fields.map(|(name, value)| (name.to_owned(), value.split_whitespace().collect::<Vec<_>>().join(" "))).collect()
}

fn descriptors() -> BTreeMap<String, String> {
    let mut all = links("/proc/self/fd");
    // The one that read the directory is closed again.
    all.retain(|_, target| !target.is_empty());
    all
}

fn links(dir: &str) -> BTreeMap<String, String> {
    let target = |name: &String| fs::read_link(format!("{dir}/{name}")).map(|path| path.display().to_string());
    names(dir).into_iter().map(|name| (name.clone(), target(&name).unwrap_or_default())).collect()
}

fn names(dir: &str) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Mount point, kind and options, in the order of the mounts.
fn mounts() -> Vec<[String; 3]> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let line = |line: &str| -> Option<[String; 3]> {
        let (left, right) = line.split_once(" - ")?;
        let (left, kind): (Vec<&str>, &str) = (left.split(' ').collect(), right.split(' ').next()?);
        Some([(*left.get(4)?).to_owned(), kind.to_owned(), (*left.get(5)?).to_owned()])
    };
    text.lines().filter_map(line).collect()
}

/// Soft and hard limit by name.
fn limits() -> BTreeMap<String, [String; 2]> {
    let text = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = |line: &str| {
        let (name, values) = line.split_at_checked(26)?;
        let mut values = values.split_whitespace().map(str::to_owned);
        Some((name.trim().to_owned(), [values.next()?, values.next()?]))
    };
    text.lines().skip(1).filter_map(line).collect()
}

/// What is in `/dev`: kind, mode, and number of devices.
fn devices() -> BTreeMap<String, String> {
    let describe = |name: &String| {
        let Ok(metadata) = fs::symlink_metadata(format!("/dev/{name}")) else { return String::new() };
        let (kind, mode) = (metadata.file_type(), metadata.mode() & 0o7777);
        if kind.is_char_device() || kind.is_block_device() {
            let device = metadata.rdev();
            format!("device {}:{} {mode:o}", nix::sys::stat::major(device), nix::sys::stat::minor(device))
        } else if kind.is_symlink() {
            fs::read_link(format!("/dev/{name}")).map(|path| format!("-> {}", path.display())).unwrap_or_default()
        } else {
            format!("directory {mode:o}")
        }
    };
    names("/dev").into_iter().map(|name| (name.clone(), describe(&name))).collect()
}

fn lines(path: &str) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn words(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
