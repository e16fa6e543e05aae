//! What a sandbox's first process is told to do: pure functions of the specification, the image and the defaults.

use std::collections::BTreeMap;

use caps::Capability;

use super::idrange::supervisor_id;
use crate::model::{Interaction, SandboxId, SandboxSpec};
use crate::proto::{Process, ResourceLimit, SeedPlan, StartPlan};

/// Docker's default capabilities without `MKNOD`, `NET_RAW` and `AUDIT_WRITE`; they count only against the sandbox's own
/// user namespace.
const CAPABILITIES: [Capability; 11] = [
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
    Capability::CAP_FSETID,
    Capability::CAP_KILL,
    Capability::CAP_SETGID,
    Capability::CAP_SETUID,
    Capability::CAP_SETPCAP,
    Capability::CAP_NET_BIND_SERVICE,
    Capability::CAP_SYS_CHROOT,
    Capability::CAP_SETFCAP,
];

/// What tells of the host, or would reach it, if the user namespace did not stand before it.
const MASKED: [&str; 28] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/kpagecgroup",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/latency_stats",
    "/proc/pagetypeinfo",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/slabinfo",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/vmallocinfo",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/bpf",
    "/sys/fs/fuse",
    "/sys/fs/pstore",
    "/sys/kernel/debug",
    "/sys/kernel/security",
    "/sys/kernel/slab",
    "/sys/kernel/tracing",
    "/sys/module",
];

const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What the image's configuration says of its processes.
#[derive(Debug, Clone, Copy)]
pub struct ImageDefaults<'a> {
    pub env: &'a [(String, String)],
    pub user: &'a str,
    pub working_dir: &'a str,
}

/// What the operator may set for all sandboxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanSettings {
    pub shm_bytes: u64,
    pub log_segment_bytes: u64,
}

impl Default for PlanSettings {
    fn default() -> Self {
        Self { shm_bytes: 64 << 20, log_segment_bytes: 8 << 20 }
    }
}

/// What a sandbox is told before it is known what will run in it. `extra_masked` are paths that only this host has (one
/// for each CPU).
#[must_use]
pub fn seed(id: &SandboxId, base: u32, nonce: &str, settings: PlanSettings, extra_masked: &[String]) -> SeedPlan {
    let masked = MASKED.iter().map(|path| (*path).to_owned()).chain(extra_masked.iter().cloned());
    SeedPlan {
        nonce: nonce.to_owned(),
        hostname: id.short(),
        id_base: base,
        supervisor_id: supervisor_id(base),
        masked_paths: masked.collect(),
        read_only_paths: READ_ONLY.map(str::to_owned).to_vec(),
        shm_bytes: settings.shm_bytes,
        // Half of the way: after any sandbox a process of the host is a worse choice.
        oom_score_adj: 500,
        capabilities: CAPABILITIES.map(|capability| capability.index()).to_vec(),
        limits: limits(),
    }
}

/// What it is told then.
#[must_use]
pub fn start(id: &SandboxId, spec: &SandboxSpec, image: ImageDefaults<'_>, settings: PlanSettings) -> StartPlan {
    StartPlan {
        log_segment_bytes: settings.log_segment_bytes,
        process: Process {
            argv: spec.entrypoint.clone(),
            env: environment(id, spec, image),
            user: image.user.to_owned(),
            cwd: directory(spec, image).to_owned(),
        },
        interaction: spec.interaction,
    }
}

fn directory<'a>(spec: &'a SandboxSpec, image: ImageDefaults<'a>) -> &'a str {
    match (spec.cwd.as_deref(), image.working_dir) {
        (Some(asked), _) => asked,
        (None, "") => "/",
        (None, of_image) => of_image,
    }
}

/// The image's variables, the request's over them, and ours.
fn environment(id: &SandboxId, spec: &SandboxSpec, image: ImageDefaults<'_>) -> Vec<String> {
    let mut env: BTreeMap<&str, &str> = BTreeMap::from([
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        // Lines of this file are variables of every later command; clients write it.
        ("EXECD_ENVS", "/opt/opensandbox/.env"),
    ]);
    let hostname = id.short();
    env.insert("HOSTNAME", &hostname);
    if let Interaction::Terminal { .. } = spec.interaction {
        env.insert("TERM", "xterm");
    }
    env.extend(image.env.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    env.extend(spec.env.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    env.insert("OPENSANDBOX_ID", id.as_str());
    env.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn limits() -> Vec<ResourceLimit> {
    let limit = |resource, soft, hard| ResourceLimit { resource, soft, hard };
    let unlimited = libc::RLIM_INFINITY;
    vec![
        limit(libc::RLIMIT_NOFILE, 1024, 65_536),
        limit(libc::RLIMIT_CORE, 0, 0),
        limit(libc::RLIMIT_MEMLOCK, 8 << 20, 8 << 20),
        limit(libc::RLIMIT_NICE, 0, 0),
        limit(libc::RLIMIT_RTPRIO, 0, 0),
        limit(libc::RLIMIT_MSGQUEUE, 819_200, 819_200),
        limit(libc::RLIMIT_SIGPENDING, 4096, 4096),
        limit(libc::RLIMIT_STACK, 8 << 20, unlimited),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Limits, NetworkTerms};

    fn spec(env: &[(&str, &str)]) -> SandboxSpec {
        SandboxSpec {
            image: "x".into(),
            entrypoint: vec!["sh".into()],
            env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            metadata: BTreeMap::new(),
            limits: Limits::default(),
            timeout: None,
            platform: None,
            extensions: BTreeMap::new(),
            network: None,
            interaction: Interaction::None,
            cwd: None,
            policy: None,
            network_terms: NetworkTerms::default(),
        }
    }

    #[test]
    fn the_request_lies_over_the_image_and_the_id_over_both() {
        let id: SandboxId = "0b5e5d5e-6f70-4a39-9d3e-2f0f3c9f6f11".parse().expect("an id");
        let image_env = [("PATH".to_owned(), "/opt".to_owned()), ("A".to_owned(), "image".to_owned())];
        let image = ImageDefaults { env: &image_env, user: "", working_dir: "" };
        let spec = spec(&[("A", "request"), ("OPENSANDBOX_ID", "forged")]);
        let settings = PlanSettings::default();
        let (plan, seed) = (start(&id, &spec, image, settings), seed(&id, 1 << 30, "n", settings, &[]));
        let expected = [
            "A=request",
            "EXECD_ENVS=/opt/opensandbox/.env",
            "HOSTNAME=0b5e5d5e6f70",
            "OPENSANDBOX_ID=0b5e5d5e-6f70-4a39-9d3e-2f0f3c9f6f11",
            "PATH=/opt",
        ];
        assert_eq!(plan.process.env, expected);
        assert_eq!((plan.process.cwd.as_str(), seed.supervisor_id), ("/", (1 << 30) + 65_536));
    }
}
