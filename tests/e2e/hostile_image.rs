//! Images that put something else where the sandbox's own file systems go, or point their configuration outside.

use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use crate::harness::Daemon;

/// A root with a shell, with `path` as something that no image should have there.
fn root(path: &str, kind: EntryType, target: &Path) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find_map(|path| fs::read(path).ok());
    add(&mut tar, "bin/busybox", &busybox.expect("busybox"));
    for name in ["sh", "ls", "cat"] {
        link(&mut tar, &format!("bin/{name}"), Path::new("busybox"));
    }
    match kind {
        EntryType::Symlink => link(&mut tar, path, target),
        kind => {
            let mut header = Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(0o644);
            header.set_size(0);
            tar.append_data(&mut header, path, &[][..]).expect("an entry in memory");
        }
    }
    tar.into_inner().expect("an archive in memory")
}

fn add(tar: &mut Builder<Vec<u8>>, path: &str, content: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o755);
    tar.append_data(&mut header, path, content).expect("an entry in memory");
}

fn link(tar: &mut Builder<Vec<u8>>, path: &str, target: &Path) {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Symlink);
    header.set_size(0);
    tar.append_link(&mut header, path, target).expect("a link in memory");
}

/// What `docker save` writes: one layer, and a configuration.
fn saved(layer: &[u8], config: &serde_json::Value) -> Vec<u8> {
    let digest: String = Sha256::digest(layer).iter().map(|byte| format!("{byte:02x}")).collect();
    let layers = serde_json::json!({"type": "layers", "diff_ids": [format!("sha256:{digest}")]});
    let document = serde_json::json!({"architecture": "amd64", "os": "linux", "config": config, "rootfs": layers});
    let manifest = serde_json::json!([{"Config": "config.json", "RepoTags": [], "Layers": ["layer.tar"]}]);
    let mut tar = Builder::new(Vec::new());
    add(&mut tar, "config.json", document.to_string().as_bytes());
    add(&mut tar, "layer.tar", layer);
    add(&mut tar, "manifest.json", manifest.to_string().as_bytes());
    tar.into_inner().expect("an archive in memory")
}

fn run(daemon: &Daemon, archive: &[u8], script: &str) -> (serde_json::Value, String) {
    daemon.client.ask("POST", "/v1/images/import?name=hostile:1", archive).expect_success();
    let mut request = daemon.request(&["sh", "-c", script]);
    request["image"]["uri"] = "hostile:1".into();
    let sandbox = daemon.create_from(&request);
    let ended = (sandbox.ended(), sandbox.log());
    sandbox.delete();
    ended
}

#[test]
fn an_image_does_not_choose_where_file_systems_are_mounted() {
    let Some(daemon) = Daemon::start("an_image_does_not_choose_where_file_systems_are_mounted") else { return };
    let canary = daemon.path("canary");
    fs::create_dir(&canary).expect("a directory");
    fs::write(canary.join("untouched"), "x").expect("a file");
    let mounts = || fs::read_to_string("/proc/self/mountinfo").map(|text| text.lines().count());
    let before = mounts().expect("mounts");
    for path in ["proc", "sys", "dev", "dev/null", "dev/pts"] {
        for kind in [EntryType::Symlink, EntryType::Fifo] {
            let script = "while read -r d at type rest; do echo \"$at $type\"; done </proc/self/mounts; cat /dev/null";
            let (status, log) = run(&daemon, &root(path, kind, &canary), script);
            assert_eq!(status["exitCode"], 0, "{path} {kind:?}: {status} {log}");
            for mount in ["/proc proc", "/sys sysfs", "/dev tmpfs", "/dev/pts devpts"] {
                assert!(log.lines().any(|line| line == mount), "{path} {kind:?}: no {mount}: {log}");
            }
        }
    }
    let found: Vec<_> =
        fs::read_dir(&canary).expect("the directory").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(found, ["untouched"]);
    assert_eq!(mounts().expect("mounts"), before, "the host's own mounts");
}

#[test]
fn a_working_directory_leads_nowhere_outside() {
    let Some(daemon) = Daemon::start("a_working_directory_leads_nowhere_outside") else { return };
    // Nothing could be executed in it, but that comes later.
    let mut layer = Builder::new(Vec::new());
    link(&mut layer, "empty", Path::new("nothing"));
    let layer = layer.into_inner().expect("an archive in memory");
    let descriptors =
        (0..32).flat_map(|number| ["", "/..", "/made"].map(|below| format!("/proc/self/fd/{number}{below}")));
    let others = ["/proc/1/root", "/proc/1/cwd/..", "../..", "relative", "/sys/made"].map(str::to_owned);
    for path in descriptors.chain(others) {
        let config = serde_json::json!({ "WorkingDir": path });
        let (status, _) = run(&daemon, &saved(&layer, &config), "");
        let message = status["message"].as_str().unwrap_or_default();
        assert!(message.contains("the working directory\""), "{path}: {status}");
    }
}
