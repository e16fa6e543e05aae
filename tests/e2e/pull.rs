//! Sandboxes of images that are not here: Debian's registry, filled by `skopeo copy`, and the daemon that pulls from it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::wait::{until, until_within};
use crate::harness::{Daemon, archive, wait};
use crate::restart::check_but_pids;

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
    let layout = layout_of(&registry.dir.path().join("layout"), &[archive().to_vec()]);
    registry.push(&layout.path, "busybox:1", &[]);
    registry
}

fn layout_of(path: &std::path::Path, layers: &[Vec<u8>]) -> Layout {
    let layout = Layout::new(path);
    let layers: Vec<_> = layers.iter().map(|layer| layout.blob(LAYER, layer)).collect();
    let diff_ids: Vec<_> = layers.iter().map(|layer| layer["digest"].clone()).collect();
    let config = json!({"architecture": layout::architecture(), "os": "linux", "config": {"Cmd": ["sleep", "1000000"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let config = layout.document(CONFIG, &config);
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
    layout.index(&[layout.document(MANIFEST, &manifest)]);
    layout
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

#[test]
fn a_pull_that_a_restart_cut_off_goes_on() {
    let Some(mut daemon) = Daemon::start("a_pull_that_a_restart_cut_off_goes_on") else { return };
    let before = daemon.settled();
    // With one that lives, the launcher does.
    let living = daemon.sleeper().id;
    let registry = registry();
    let image = registry.name("busybox:1");
    registry.pause(true);
    let cut = daemon.create_from(&request(&image, &json!({}))).id;
    let login = json!({"uri": image, "auth": {"username": "user", "password": "secret"}});
    let mut with_login = request(&image, &json!({}));
    with_login["image"] = login;
    let refused = daemon.create_from(&with_login).id;
    let pulling = |daemon: &Daemon, id: &str| {
        until("it is being pulled", || {
            let status = daemon.sandbox(id).get()["status"].clone();
            let text = status["message"].as_str().unwrap_or_default();
            if status["state"] == "Pending" && text.contains("asking") { Ok(()) } else { Err(status.to_string()) }
        });
    };
    pulling(&daemon, &cut);
    daemon.kill();
    daemon.launch();
    let status = daemon.sandbox(&refused).until("Failed");
    assert_eq!(status["reason"], "image_pull_failed");
    assert!(status["message"].as_str().is_some_and(|text| text.contains("create the sandbox again")), "{status}");
    pulling(&daemon, &cut);
    // Told to stop, it does not wait for the image either.
    daemon.stop();
    daemon.launch();
    registry.pause(false);
    daemon.sandbox(&cut).until("Running");
    for id in [cut, refused, living] {
        daemon.sandbox(&id).delete();
        daemon.sandbox(&id).until_unknown();
    }
    daemon.client.delete(&format!("/v1/images/{image}")).expect(204);
    check_but_pids(&daemon, &before);
}

#[test]
fn a_damaged_layer_is_set_aside_and_fetched_again() {
    let Some(mut daemon) = Daemon::start("a_damaged_layer_is_set_aside_and_fetched_again") else { return };
    let registry = registry();
    let image = registry.name("busybox:1");
    let first = daemon.create_from(&request(&image, &json!({}))).id;
    daemon.sandbox(&first).until("Running");
    let verify = |daemon: &Daemon| {
        let done = daemon.cli(&["doctor", "--verify-images"]);
        (done.status.code(), String::from_utf8_lossy(&done.stdout).into_owned())
    };
    let (code, told) = verify(&daemon);
    assert_eq!(code, Some(0), "{told}");
    let layer = daemon.client.get(&format!("/v1/images/{image}")).expect(200).json()["layers"][0]["diffId"].clone();
    let layer = layer.as_str().expect("a digest")[7..].to_owned();
    let images = daemon.state_dir().join("images");
    std::fs::write(images.join("layers").join(&layer).join("damage"), "x").expect("written");
    let (code, told) = verify(&daemon);
    assert!(code == Some(65) && told.contains("damaged") && told.contains(&image), "{code:?} {told}");
    assert_eq!(daemon.client.get(&format!("/v1/images/{image}")).expect(200).json()["damaged"], true);

    // What runs on it runs on; what is made now has the layer as it should be.
    let inside = |daemon: &Daemon, id: &str| {
        let done = daemon.cli(&["exec", id, "--", "ls", "/"]);
        assert!(done.status.success(), "{done:?}");
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    assert!(inside(&daemon, &first).contains("bin"));
    let second = daemon.create_from(&request(&image, &json!({}))).id;
    daemon.sandbox(&second).until("Running");
    assert!(!inside(&daemon, &second).contains("damage"));
    assert_eq!(verify(&daemon).0, Some(0));
    let aside = || std::fs::read_dir(images.join("quarantine")).expect("listed").count();
    daemon.kill();
    daemon.launch();
    assert_eq!(aside(), 1, "the first sandbox runs on it still");
    assert!(inside(&daemon, &first).contains("bin"));
    for id in [first, second] {
        daemon.sandbox(&id).delete();
        daemon.sandbox(&id).until_unknown();
    }
    daemon.kill();
    daemon.launch();
    assert_eq!(aside(), 0);
}

#[test]
fn a_hundred_layers_are_one_root() {
    let Some(daemon) = Daemon::start("a_hundred_layers_are_one_root") else { return };
    let dir = tempfile::TempDir::new().expect("a directory");
    let one =
        |at: usize| tar::Tar::new().dir("many/").file(format!("many/{at}"), "").file("top", format!("{at}")).end();
    let layers: Vec<_> = std::iter::once(archive().to_vec()).chain((1..100).map(one)).collect();
    let layout = layout_of(&dir.path().join("layout"), &layers);
    let path = layout.path.to_str().expect("a path");
    let imported = daemon.cli(&["image", "import", path, "--name", "deep:1"]);
    assert!(imported.status.success(), "{imported:?}");
    let script = "ls many | wc -l; cat top";
    let ran = daemon.cli(&["run", "--rm", "deep:1", "--", "sh", "-c", script]);
    assert!(ran.status.success(), "{ran:?}");
    let told: Vec<_> = String::from_utf8_lossy(&ran.stdout).split_whitespace().map(str::to_owned).collect();
    assert_eq!(told, ["99", "99"]);
}

#[test]
fn images_that_nobody_uses_go_by_themselves() {
    let test = "images_that_nobody_uses_go_by_themselves";
    let Some(mut daemon) = Daemon::start_with(test, "[images]\nunused_for = \"5s\"\n") else { return };
    for name in ["idle", "used"] {
        daemon.client.ask("POST", &format!("/v1/images/import?name={name}:1"), archive()).expect(201);
    }
    let sandbox = daemon.create_from(&request("used:1", &json!({"bivouac.pull_policy": "never"}))).id;
    let gone = |daemon: &Daemon, name: &str| {
        until_within(Duration::from_secs(40), "the image is gone", || {
            match daemon.client.get(&format!("/v1/images/{name}:1")).status {
                404 => Ok(()),
                status => Err(status.to_string()),
            }
        });
    };
    gone(&daemon, "idle");
    daemon.kill();
    daemon.launch();
    daemon.client.ask("POST", "/v1/images/import?name=idle:1", archive()).expect(201);
    gone(&daemon, "idle");
    daemon.client.get("/v1/images/used:1").expect(200);
    assert_eq!(daemon.sandbox(&sandbox).state(), "Running");
    daemon.sandbox(&sandbox).delete();
    daemon.sandbox(&sandbox).until_unknown();
    gone(&daemon, "used");
}
