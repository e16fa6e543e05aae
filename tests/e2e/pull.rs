//! Sandboxes of images that are not here: Debian's registry, filled by `skopeo copy`, and the daemon that pulls from it.

use serde_json::{Value, json};

use crate::harness::wait::until;
use crate::harness::{Daemon, archive, wait};

#[path = "../image_support/layout.rs"]
#[expect(dead_code, reason = "these tests use a part of it")]
mod layout;
#[path = "../registry_support/real.rs"]
#[expect(dead_code, reason = "these tests use a part of it")]
mod real;
#[path = "../registry_support/run.rs"]
mod run;
#[path = "../image_support/tar.rs"]
#[expect(dead_code, reason = "these tests use a part of it")]
mod tar;

use layout::{CONFIG, LAYER, Layout, MANIFEST};
use real::Registry;

/// A registry with the image of the tests.
fn registry() -> Registry {
    let registry = Registry::plain();
    let layout = Layout::new(&registry.dir.path().join("layout"));
    let layer = layout.blob(LAYER, archive());
    let config = json!({"architecture": layout::architecture(), "os": "linux", "config": {"Cmd": ["sleep", "1000000"]},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}});
    let config = layout.document(CONFIG, &config);
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
    layout.index(&[layout.document(MANIFEST, &manifest)]);
    registry.push(&layout.path, "busybox:1", &[]);
    registry
}

fn request(image: &str, extensions: &Value) -> Value {
    json!({"image": {"uri": image}, "entrypoint": ["sleep", "1000000"], "resourceLimits": {}, "extensions": extensions})
}

#[test]
fn a_sandbox_runs_as_soon_as_its_image_was_pulled() {
    let Some(daemon) = Daemon::start("a_sandbox_runs_as_soon_as_its_image_was_pulled") else { return };
    let before = daemon.settled();
    let registry = registry();
    let image = registry.name("busybox:1");
    let sandboxes: Vec<_> = (0..3).map(|_| daemon.create_from(&request(&image, &json!({})))).collect();
    for sandbox in &sandboxes {
        sandbox.until("Running");
    }
    let images = daemon.client.get("/v1/images").expect(200).json();
    assert_eq!(images["items"].as_array().expect("a list").iter().filter(|it| it["name"] == image.as_str()).count(), 1);
    daemon.client.delete(&format!("/v1/images/{image}")).expect_error(409, "IMAGE::IN_USE");
    for sandbox in sandboxes {
        sandbox.delete();
        sandbox.until_unknown();
    }
    daemon.client.delete(&format!("/v1/images/{image}")).expect(204);
    daemon.check_left(&before);
}

#[test]
fn an_image_that_cannot_be_pulled_fails_the_sandbox_with_what_to_do() {
    let Some(daemon) = Daemon::start("an_image_that_cannot_be_pulled_fails_the_sandbox_with_what_to_do") else {
        return;
    };
    let before = daemon.settled();
    let registry = registry();
    let image = registry.name("nosuch:1");
    let sandbox = daemon.create_from(&request(&image, &json!({})));
    let status = sandbox.until("Failed");
    assert_eq!(status["reason"], "image_pull_failed");
    let message = status["message"].as_str().expect("a message");
    let host = format!("localhost:{}", registry.port);
    assert!(message.contains(&host) && message.contains("404") && message.contains("check the name"), "{message}");
    sandbox.delete();
    sandbox.until_unknown();
    let never = request(&image, &json!({"bivouac.pull_policy": "never"}));
    daemon.client.post("/v1/sandboxes", &never).expect_error(400, "SANDBOX::IMAGE_NOT_FOUND");
    let wrong = request(&image, &json!({"bivouac.pull_policy": "perhaps"}));
    daemon.client.post("/v1/sandboxes", &wrong).expect_error(400, "SANDBOX::INVALID_PARAMETER");
    daemon.check_left(&before);
}

#[test]
fn the_command_line_pulls_and_runs() {
    let Some(daemon) = Daemon::start("the_command_line_pulls_and_runs") else { return };
    let registry = registry();
    let image = registry.name("busybox:1");
    let pulled = daemon.cli(&["image", "pull", &image]);
    assert!(pulled.status.success(), "{pulled:?}");
    assert_eq!(String::from_utf8_lossy(&pulled.stdout).trim(), image);
    let again = daemon.cli(&["image", "rm", &image]);
    assert!(again.status.success(), "{again:?}");
    // What is not here is fetched first, as with other tools.
    let ran = daemon.cli(&["run", "--rm", &image, "--", "echo", "hello"]);
    assert!(ran.status.success(), "{ran:?}");
    assert!(String::from_utf8_lossy(&ran.stdout).contains("hello"), "{ran:?}");
    let layout = registry.dir.path().join("exported");
    let to = layout.to_str().expect("a path");
    let exported = daemon.cli(&["image", "export", &image, to]);
    assert!(exported.status.success() && String::from_utf8_lossy(&exported.stdout).trim() == to, "{exported:?}");
    registry.push(&layout, "again:1", &[]);
    let again = daemon.cli(&["run", "--rm", &registry.name("again:1"), "--", "echo", "hello"]);
    assert!(again.status.success() && String::from_utf8_lossy(&again.stdout).contains("hello"), "{again:?}");
    let full = daemon.cli(&["image", "export", &image, to]);
    assert!(!full.status.success() && String::from_utf8_lossy(&full.stderr).contains("something already"), "{full:?}");
    let missing = daemon.cli(&["image", "pull", &registry.name("nosuch:1")]);
    assert!(!missing.status.success() && String::from_utf8_lossy(&missing.stderr).contains("404"), "{missing:?}");
    until("nothing is left", || {
        let left = daemon.client.get("/v1/sandboxes").expect(200).json()["items"].clone();
        if left.as_array().is_some_and(Vec::is_empty) { Ok(()) } else { Err(left.to_string()) }
    });
}
