//! What this kernel and host can do: each feature that sandboxes use, whether it is here, what is done instead where it is
//! not, and what is lost then. Looks and changes nothing.

mod console;
mod state;

use std::fs;
use std::path::Path;

use self::console::Console;
use self::state::StateDisk;
use super::cgroup::{Controller, Layout};
use super::disk as disks;
use crate::model::Finding;

/// What the findings are made from.
#[derive(Debug)]
struct Facts {
    root: bool,
    /// As in `uname -r`.
    release: String,
    /// `/proc/filesystems`
    filesystems: String,
    /// `/proc/sys/user/max_user_namespaces`
    user_namespaces: String,
    /// `/proc/sys/kernel/seccomp/actions_avail`
    seccomp_actions: String,
    /// What bounds disks, or what is missing for that.
    disk: Result<String, &'static str>,
    /// The cgroup hierarchies, or why there are none to use.
    cgroups: Result<Layout, String>,
    state: StateDisk,
    console: Console,
}

/// Looks at the host, of which `state_dir` is what the daemon writes to.
#[must_use]
pub fn examine(state_dir: &Path) -> Vec<Finding> {
    findings(&Facts::gather(state_dir))
}

impl Facts {
    fn gather(state_dir: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let state = StateDisk::of(state_dir);
        let sandboxes = state_dir.join("sandboxes");
        Self {
            root: nix::unistd::geteuid().is_root(),
            release: read("/proc/sys/kernel/osrelease"),
            filesystems: read("/proc/filesystems"),
            user_namespaces: read("/proc/sys/user/max_user_namespaces"),
            seccomp_actions: read("/proc/sys/kernel/seccomp/actions_avail"),
            disk: disks::find(if sandboxes.is_dir() { &sandboxes } else { &state.dir }),
            cgroups: Layout::find().map_err(|error| error.to_string()),
            state,
            console: Console::gather(),
        }
    }

    /// Whether the kernel is at least of this version. What an unknown release can do is not believed.
    fn is_at_least(&self, wanted: (u32, u32)) -> bool {
        let mut numbers = self.release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= wanted
    }
}

/// A feature that came with a version of the kernel and cannot be switched off.
struct Since {
    feature: &'static str,
    version: (u32, u32),
    fallback: Option<&'static str>,
    lost: Option<&'static str>,
}

/// Without a fallback, a feature is required.
const SINCE: [Since; 6] = [
    Since { feature: "process descriptors (pidfd)", version: (5, 4), fallback: None, lost: None },
    Since { feature: "bounded path resolution (openat2)", version: (5, 6), fallback: None, lost: None },
    Since { feature: "clone into a cgroup", version: (5, 7), fallback: None, lost: None },
    Since { feature: "kill a whole cgroup", version: (5, 14), fallback: None, lost: None },
    Since { feature: "overlay over idmapped layers", version: (5, 19), fallback: None, lost: None },
    Since {
        feature: "overlay layers as descriptors",
        version: (6, 15),
        fallback: Some("layers are attached in a mount namespace for a moment"),
        lost: Some("some of the time of each start"),
    },
];

fn findings(facts: &Facts) -> Vec<Finding> {
    let mut all = vec![root(facts)];
    all.extend(SINCE.iter().map(|since| kernel(facts, since)));
    all.extend([overlay(facts), user_namespaces(facts), seccomp(facts), unified(facts)]);
    let controllers = [Controller::Cpu, Controller::Memory, Controller::Pids, Controller::Io];
    all.extend(controllers.map(|controller| limit(facts, controller)));
    all.extend([disk(facts), state::finding(&facts.state), console::finding(&facts.console)]);
    all
}

fn required(feature: &str, found: bool, detail: String) -> Finding {
    Finding { feature: feature.to_owned(), found, detail, fallback: None, lost: None, required: true }
}

fn root(facts: &Facts) -> Finding {
    let detail = if facts.root { "this user is root" } else { "the daemon must be started by root" };
    // What a user without rights sees of the host is not what the daemon sees.
    Finding { required: false, ..required("rights", facts.root, detail.to_owned()) }
}

fn kernel(facts: &Facts, since: &Since) -> Finding {
    let (major, minor) = since.version;
    Finding {
        fallback: since.fallback.map(str::to_owned),
        lost: since.lost.map(str::to_owned),
        required: since.fallback.is_none(),
        ..required(
            since.feature,
            facts.is_at_least(since.version),
            format!("kernel {}; since {major}.{minor}", facts.release),
        )
    }
}

fn overlay(facts: &Facts) -> Finding {
    let found = facts.filesystems.split_whitespace().any(|name| name == "overlay");
    let detail = if found { "in /proc/filesystems" } else { "not in /proc/filesystems; try `modprobe overlay`" };
    required("overlay file system", found, detail.to_owned())
}

fn user_namespaces(facts: &Facts) -> Finding {
    let most: u64 = facts.user_namespaces.parse().unwrap_or(0);
    let detail = match most {
        0 => "user.max_user_namespaces is 0 or missing; set it with sysctl".to_owned(),
        most => format!("up to {most}"),
    };
    required("user namespaces", most > 0, detail)
}

fn seccomp(facts: &Facts) -> Finding {
    let found = facts.seccomp_actions.split_whitespace().any(|action| action == "errno");
    let detail = if found { "filters can answer with an error" } else { "the kernel was built without filters" };
    required("system call filters (seccomp)", found, detail.to_owned())
}

fn unified(facts: &Facts) -> Finding {
    match &facts.cgroups {
        Ok(layout) => required("cgroup v2", true, format!("mounted at {}", layout.unified.display())),
        Err(problem) => required("cgroup v2", false, problem.clone()),
    }
}

fn disk(facts: &Facts) -> Finding {
    let detail = facts.disk.clone().unwrap_or_else(str::to_owned);
    Finding {
        fallback: Some("sandboxes run without it and say so, or are refused (limits.unenforceable)".to_owned()),
        lost: Some("the limit of the disk".to_owned()),
        required: false,
        ..required("limit of disk", facts.disk.is_ok(), detail)
    }
}

fn limit(facts: &Facts, controller: Controller) -> Finding {
    let layout = facts.cgroups.as_ref().ok();
    let legacy = layout.and_then(|layout| layout.legacy.iter().find(|(known, _)| *known == controller));
    let unified = layout.is_some_and(|layout| layout.unified_controllers.contains(&controller));
    let detail = match legacy {
        Some((_, mount)) => format!("on cgroup v1, at {}", mount.display()),
        None if unified => "on cgroup v2".to_owned(),
        None => "in no hierarchy".to_owned(),
    };
    Finding {
        fallback: Some("sandboxes run without it and say so, or are refused (limits.unenforceable)".to_owned()),
        lost: Some(format!("the limit of {}", controller.name())),
        required: false,
        ..required(&format!("limit of {}", controller.name()), unified || legacy.is_some(), detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(release: &str) -> Facts {
        Facts {
            root: true,
            release: release.to_owned(),
            filesystems: "nodev\tproc\nnodev\toverlay\n".to_owned(),
            user_namespaces: "1000".to_owned(),
            seccomp_actions: "kill_process errno allow".to_owned(),
            disk: Ok("ext4 on loop devices".to_owned()),
            cgroups: Ok(Layout {
                unified: "/sys/fs/cgroup/unified".into(),
                unified_controllers: Vec::new(),
                legacy: vec![(Controller::Memory, "/sys/fs/cgroup/memory".into())],
            }),
            state: StateDisk {
                dir: "/var/lib".into(),
                kind: "xfs".to_owned(),
                device: "sda".to_owned(),
                is_root: false,
                journal: None,
            },
            console: Console::default(),
        }
    }

    fn missing(facts: &Facts) -> Vec<String> {
        findings(facts).into_iter().filter(|f| f.required && !f.found).map(|f| f.feature).collect()
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        for (release, wanted, at_least) in [
            ("6.18.5-amd64", (6, 9), true),
            ("5.10.0", (5, 14), false),
            ("7.0-rc1", (6, 13), true),
            ("6.1", (6, 1), true),
            ("", (5, 4), false),
        ] {
            assert_eq!(facts(release).is_at_least(wanted), at_least, "{release}");
        }
    }

    #[test]
    fn a_fit_host_lacks_nothing_that_is_required() {
        assert_eq!(missing(&facts("6.1.0")), Vec::<String>::new());
    }

    #[test]
    fn a_limit_is_found_in_either_version_and_is_never_required() {
        let all = findings(&facts("6.1.0"));
        let of = |name: &str| all.iter().find(|finding| finding.feature == name).expect("a finding");
        assert_eq!(of("limit of memory").detail, "on cgroup v1, at /sys/fs/cgroup/memory");
        assert!(!of("limit of cpu").found);
        assert_eq!(of("limit of cpu").lost.as_deref(), Some("the limit of cpu"));
    }

    #[test]
    fn an_unfit_host_is_told_what_it_lacks() {
        let unfit = Facts {
            cgroups: Err("there is no cgroup2 mount".to_owned()),
            root: false,
            filesystems: String::new(),
            user_namespaces: String::new(),
            ..facts("5.4.0")
        };
        let missing = missing(&unfit);
        for feature in ["overlay file system", "user namespaces", "cgroup v2", "clone into a cgroup"] {
            assert!(missing.iter().any(|name| name == feature), "{feature}");
        }
    }
}
