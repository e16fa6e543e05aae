//! What the store keeps, for whom, and for how long.

mod image_support;

use std::fs;
use std::io::Cursor;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bivouac::image::{Image, ImageError, ImageStore, KeepPolicy, MinFree, NoProgress, Room, Source, UnpackLimits};
use chrono::{TimeDelta, Utc};
use image_support::layout::Layout;
use image_support::tar::Tar;
use image_support::{Fixture, unsettled};

fn import(store: &ImageStore, name: &str, content: &str) -> Arc<Image> {
    let image = import_only(store, name, content);
    store.settle(Duration::from_secs(60));
    image
}

/// As [`import`], while not everything may be on the disk.
fn import_only(store: &ImageStore, name: &str, content: &str) -> Arc<Image> {
    let tar = Tar::new().file("f", content).end();
    store.import(Source::Reader(Box::new(Cursor::new(tar))), Some(name), &NoProgress).unwrap()
}

fn reopen(fixture: &Fixture) -> ImageStore {
    ImageStore::open(&fixture.path("images"), UnpackLimits::default()).unwrap()
}

fn layers(store: &ImageStore) -> usize {
    fs::read_dir(store.layers_dir()).unwrap().count()
}

#[test]
fn an_image_is_found_by_every_spelling() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let image = import(store, "docker.io/library/debian", "x");
    assert_eq!(image.name, "debian:latest");
    let pinned = format!("debian@{}", image.digest);
    for name in
        ["debian", "debian:latest", "library/debian", "docker.io/debian", &pinned, &image.digest, &image.digest[7..19]]
    {
        assert_eq!(store.find(name).unwrap().digest, image.digest, "{name}");
    }
    let wrong = format!("debian@sha256:{}", "0".repeat(64));
    for name in ["debian:12", "x/debian", "localhost/debian", &wrong, &image.digest[7..11], "", "../debian", "\0"] {
        assert!(matches!(store.find(name), Err(ImageError::NotFound { .. })), "{name}");
    }
}

#[test]
fn finding_takes_microseconds() {
    let fixture = Fixture::new();
    import(&fixture.store, "x", "x");
    // The disk is not asked: what is not there is still found.
    fs::remove_dir_all(fixture.path("images")).unwrap();
    let begun = Instant::now();
    for _ in 0..1000 {
        fixture.store.find("x").unwrap();
    }
    assert!(begun.elapsed().as_micros() / 1000 < 100, "{:?} for 1000", begun.elapsed());
    fs::create_dir_all(fixture.path("images/layers")).unwrap();
}

#[test]
fn a_held_image_cannot_be_removed() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let image = import(store, "x", "x");
    store.hold(&image, "sandbox-1");
    store.find_and_hold("x", "sandbox-2").unwrap();
    assert_eq!(store.holders(&image), ["sandbox-1", "sandbox-2"]);
    store.release("sandbox-1");
    match store.remove("x") {
        Err(ImageError::InUse { by, .. }) => assert_eq!(by, "sandbox-2"),
        other => panic!("{other:?}"),
    }
    store.release("sandbox-2");
    store.remove("x").unwrap();
    assert!(matches!(store.remove("x"), Err(ImageError::NotFound { .. })));
    fixture.assert_empty();
}

#[test]
fn a_shared_layer_stays_with_its_last_image() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let (base, own) = (Tar::new().file("base", "").end(), Tar::new().file("own", "").end());
    for (name, tars) in [("one", vec![base.clone()]), ("two", vec![base, own])] {
        let layout = Layout::image(&fixture.path(name), &tars);
        store.import(Source::Path(&layout.path), Some(name), &NoProgress).unwrap();
    }
    assert_eq!(layers(store), 2);
    store.remove("one").unwrap();
    assert_eq!(layers(store), 2);
    store.remove("two").unwrap();
    fixture.assert_empty();
}

#[test]
fn a_layer_that_comes_twice_is_one() {
    let fixture = Fixture::new();
    let (a, b) = (Tar::new().file("a", "").end(), Tar::new().file("b", "").end());
    let layout = Layout::image(&fixture.path("layout"), &[a.clone(), b, a]);
    assert_eq!(fixture.import_path(&layout.path).unwrap().layers.len(), 2);
}

#[test]
fn a_new_image_takes_the_name_and_the_old_one_stays_while_it_is_held() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let old = import(store, "x", "old");
    store.hold(&old, "sandbox");
    let new = import(store, "x", "new");
    assert_eq!(store.find("x").unwrap().digest, new.digest);
    assert_eq!(layers(store), 2);
    let kept = store.find(&old.digest).unwrap();
    assert_eq!((kept.name.as_str(), &kept.layers), ("", &old.layers));
    assert!(matches!(store.remove(&old.digest), Err(ImageError::InUse { .. })));

    // It survives a restart, so that its sandbox can be adopted.
    let store = reopen(&fixture);
    assert_eq!(layers(&store), 2);
    store.find_and_hold(&old.digest, "sandbox").unwrap();
    assert!(store.prune().is_empty());
    store.release("sandbox");
    assert_eq!((layers(&store), store.list().len()), (1, 1));
    assert_eq!(reopen(&fixture).list().len(), 1);
}

#[test]
fn an_old_image_that_nobody_holds_goes_at_once() {
    let fixture = Fixture::new();
    import(&fixture.store, "x", "old");
    import(&fixture.store, "x", "new");
    assert_eq!((layers(&fixture.store), fixture.store.list().len()), (1, 1));
    assert_eq!(fs::read_dir(fixture.path("images/records")).unwrap().count(), 1);
}

#[test]
fn one_content_under_two_names_is_removed_by_name() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let image = import(store, "a", "x");
    import(store, "b", "x");
    assert!(store.find(&image.digest).is_ok());
    assert!(matches!(store.remove(&image.digest), Err(ImageError::Ambiguous { .. })));
    store.remove("a").unwrap();
    assert_eq!(layers(store), 1);
    store.remove(&image.digest).unwrap();
    fixture.assert_empty();
}

#[test]
fn opening_finds_what_was_there_and_sweeps_the_rest() {
    let fixture = Fixture::new();
    let image = import(&fixture.store, "x", "x");
    let images = fixture.path("images");
    fs::create_dir_all(images.join("tmp/half/deep/dir")).unwrap();
    fs::write(images.join("tmp/record"), "{").unwrap();
    fs::create_dir_all(images.join("layers/orphan/x")).unwrap();
    let store = reopen(&fixture);
    assert_eq!(*store.find("x").unwrap(), *image);
    assert_eq!(layers(&store), 1);
    assert_eq!(fs::read_dir(images.join("tmp")).unwrap().count(), 0);
    for dir in ["", "layers", "records", "tmp"] {
        assert_eq!(fs::metadata(images.join(dir)).unwrap().permissions().mode() & 0o7777, 0o700, "{dir}");
    }
}

#[test]
fn a_record_that_cannot_be_read_is_put_aside() {
    let fixture = Fixture::new();
    import(&fixture.store, "good", "good");
    let bad = import(&fixture.store, "bad", "bad");
    let records = fixture.path("images/records");
    let path = |name: &str| {
        let holds =
            |path: &std::path::PathBuf| fs::read_to_string(path).unwrap().contains(&format!("\"{name}:latest\""));
        fs::read_dir(&records).unwrap().map(|entry| entry.unwrap().path()).find(holds).unwrap()
    };
    let file = path("bad");
    let whole = fs::read_to_string(&file).unwrap();
    let hex = &bad.layers[0].dir;
    for broken in [
        String::new(),
        whole[..whole.len() / 2].to_owned(),
        whole.replace("\"version\":1", "\"version\":2"),
        whole.replace("bad:latest", "../bad"),
        whole.replace(&format!("\"dir\":\"{hex}\""), "\"dir\":\"../../canary\""),
        whole.replace(hex, &"0".repeat(64)),
        "\0".repeat(4096),
    ] {
        fs::write(&file, &broken).unwrap();
        let store = reopen(&fixture);
        assert_eq!(store.list().len(), 1, "{broken}");
        assert!(store.find("good").is_ok());
        // Its layer may be in use by a sandbox that is still running.
        assert!(store.layers_dir().join(hex).is_dir());
    }
    fixture.assert_canary();
}

#[test]
fn imports_at_once_do_not_disturb_each_other() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let bad = [Tar::new().file("same", "x").0, Tar::new().file("../x", "").0].concat();
    std::thread::scope(|scope| {
        for at in 0..8 {
            let bad = bad.clone();
            scope.spawn(move || {
                for _ in 0..5 {
                    import(store, &format!("name{}", at % 2), "same");
                    let source = Source::Reader(Box::new(Cursor::new(bad.clone())));
                    assert!(store.import(source, Some("bad"), &NoProgress).is_err());
                    if at == 0 {
                        // It may be removed already, or be back already.
                        drop(store.remove("name0"));
                    }
                }
            });
        }
    });
    let image = import(store, "name0", "same");
    assert!(store.layers_dir().join(&image.layers[0].dir).join("f").exists());
    for image in store.list() {
        store.remove(&image.name).unwrap();
    }
    fixture.assert_empty();
}

fn keep(store: &ImageStore, policy: &KeepPolicy, now: chrono::DateTime<Utc>, free: u64) -> Vec<String> {
    let removed = store.keep_on(policy, now, &|| Ok(Room { free, total: 1000 }));
    removed.into_iter().map(|image| image.name).collect()
}

#[test]
fn what_nobody_uses_goes_by_the_policy() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    for name in ["held", "unused", "bivouac/base"] {
        import(store, name, name);
    }
    store.find_and_hold("held", "sandbox").unwrap();
    let policy = KeepPolicy { unused_for: Some(Duration::from_secs(3600)), min_free: None };
    let now = Utc::now();
    assert!(keep(store, &policy, now + TimeDelta::minutes(59), 0).is_empty());
    assert_eq!(keep(store, &policy, now + TimeDelta::minutes(61), 0), ["unused:latest"]);
    assert!(keep(store, &KeepPolicy::default(), now + TimeDelta::days(999), 0).is_empty());
    store.release("sandbox");
    assert_eq!(keep(store, &policy, now + TimeDelta::minutes(61), 0), ["held:latest"]);
    assert_eq!(store.list().len(), 1);
}

#[test]
fn a_full_disk_costs_what_was_out_of_use_for_longest() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    for name in ["a", "b", "c", "d"] {
        import(store, name, &name.repeat(100));
    }
    for name in ["d", "b", "a", "c"] {
        store.touch(&store.find(name).unwrap());
    }
    store.find_and_hold("d", "sandbox").unwrap();
    let policy = KeepPolicy { unused_for: None, min_free: Some(MinFree::Percent(10)) };
    let soon = Utc::now() + TimeDelta::minutes(2);
    assert!(keep(store, &policy, soon, 100).is_empty(), "there is room enough");
    assert!(keep(store, &policy, Utc::now(), 0).is_empty(), "all were used a moment ago");
    assert_eq!(keep(store, &policy, soon, 99), ["b:latest"], "one byte is missing");
    let policy = KeepPolicy { min_free: Some(MinFree::Bytes(150)), ..policy };
    assert_eq!(keep(store, &policy, soon, 0), ["a:latest", "c:latest"]);
    assert!(keep(store, &policy, soon, 0).is_empty(), "what is held stays");
    assert_eq!((layers(store), store.list().len()), (1, 1));
}

#[test]
fn when_an_image_was_used_outlives_the_daemon() {
    let fixture = Fixture::new();
    import(&fixture.store, "old", "old");
    let old = Utc::now() - TimeDelta::days(3);
    let file = fixture.path("images/uses.json");
    // As a daemon of three days ago left it.
    fs::write(&file, serde_json::json!({"old:latest": old, "gone:latest": old}).to_string()).unwrap();
    let records = fixture.path("images/records");
    let record = fs::read_dir(&records).unwrap().next().unwrap().unwrap().path();
    let mut document: serde_json::Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    document["image"]["imported_at"] = serde_json::json!(old);
    fs::write(&record, document.to_string()).unwrap();
    let policy = KeepPolicy { unused_for: Some(Duration::from_secs(86_400)), min_free: None };
    assert_eq!(keep(&reopen(&fixture), &policy, Utc::now(), 0), ["old:latest"]);

    // A use is noted; what cannot be read is none.
    let store = &fixture.store;
    import(store, "new", "new");
    store.find_and_hold("new", "sandbox").unwrap();
    store.save_uses();
    assert!(fs::read_to_string(&file).unwrap().contains("new:latest"));
    fs::write(&file, "{").unwrap();
    assert!(keep(&reopen(&fixture), &policy, Utc::now(), 0).is_empty());
}

#[test]
fn what_is_taken_never_goes() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let policy = KeepPolicy { unused_for: Some(Duration::from_nanos(1)), min_free: Some(MinFree::Bytes(u64::MAX)) };
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                keep(store, &policy, Utc::now() + TimeDelta::minutes(2), 0);
            }
        });
        let mut held = 0;
        for round in 0..200 {
            import_only(store, "x", "x");
            let Ok(image) = store.find_and_hold("x", "sandbox") else { continue };
            held += 1;
            for _ in 0..20 {
                let file = store.layers_dir().join(&image.layers[0].dir).join("f");
                assert_eq!(fs::read_to_string(file).unwrap(), "x", "round {round}");
            }
            store.release("sandbox");
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(held > 10, "the image was taken {held} times only");
    });
    drop(keep(store, &policy, Utc::now() + TimeDelta::minutes(2), 0));
    fixture.assert_empty();
}

/// The files of the records that name one of these images.
fn records(fixture: &Fixture, dir: &Path, name: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(fixture.path("images").join(dir)).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| fs::read_to_string(path).unwrap().contains(&format!("\"{name}:latest\""))).collect()
}

/// Puts the record of an image back to where it was before its layers were on the disk, in this boot or another.
fn unsettle(fixture: &Fixture, name: &str, to: &Path) -> PathBuf {
    let record = records(fixture, Path::new("records"), name).remove(0);
    let to = fixture.path("images").join(to);
    fs::create_dir_all(&to).unwrap();
    let to = to.join(record.file_name().unwrap());
    fs::rename(record, &to).unwrap();
    to
}

#[test]
fn an_image_is_found_again_before_it_was_on_the_disk() {
    let fixture = Fixture::new();
    let image = import(&fixture.store, "x", "x");
    assert_eq!(records(&fixture, &unsettled(), "x").len(), 0);
    unsettle(&fixture, "x", &unsettled());
    let store = reopen(&fixture);
    assert_eq!(*store.find("x").unwrap(), *image);
    store.settle(Duration::from_secs(60));
    assert_eq!(
        (records(&fixture, Path::new("records"), "x").len(), records(&fixture, &unsettled(), "x").len()),
        (1, 0)
    );
}

#[test]
fn an_image_that_was_not_on_the_disk_when_the_host_went_down_is_gone() {
    let fixture = Fixture::new();
    import(&fixture.store, "stays", "shared");
    import(&fixture.store, "shares", "shared");
    let gone = import(&fixture.store, "gone", "gone");
    let other_boot = Path::new("unsettled/other");
    unsettle(&fixture, "shares", other_boot);
    // Whatever is in it: it was not on the disk.
    fs::write(unsettle(&fixture, "gone", other_boot), "").unwrap();
    fs::write(fixture.store.layers_dir().join(&gone.layers[0].dir).join("f"), "").unwrap();
    let store = reopen(&fixture);
    assert_eq!(store.list().iter().map(|image| &image.name).collect::<Vec<_>>(), ["stays:latest"]);
    assert_eq!(layers(&store), 1);
    let again = import(&store, "gone", "gone");
    assert_eq!(fs::read_to_string(store.layers_dir().join(&again.layers[0].dir).join("f")).unwrap(), "gone");
    assert!(!fixture.path("images").join(other_boot).exists());
}

#[test]
fn a_layer_that_nothing_vouches_for_is_not_used() {
    let fixture = Fixture::new();
    let image = import(&fixture.store, "x", "x");
    let file = |store: &ImageStore| store.layers_dir().join(&image.layers[0].dir).join("f");
    // With a record that says nothing, nothing is swept.
    fs::write(records(&fixture, Path::new("records"), "x").remove(0), "").unwrap();
    fs::write(file(&fixture.store), "").unwrap();
    let store = reopen(&fixture);
    assert_eq!((layers(&store), store.list().len()), (1, 0));
    import(&store, "x", "x");
    assert_eq!(fs::read_to_string(file(&store)).unwrap(), "x");
}

#[test]
fn what_is_changed_before_it_is_on_the_disk_stays_changed() {
    let fixture = Fixture::new();
    for round in 0..20 {
        import_only(&fixture.store, "removed", "1");
        fixture.store.remove("removed").unwrap();
        let removed = format!("removed and back in round {round}");
        assert!(fixture.store.find("removed").is_err(), "{removed}");
        fixture.store.settle(Duration::from_secs(60));
        assert_eq!(records(&fixture, Path::new("records"), "removed").len(), 0, "{removed}");

        import_only(&fixture.store, "replaced", &format!("old {round}"));
        let new = import_only(&fixture.store, "replaced", &format!("new {round}"));
        fixture.store.settle(Duration::from_secs(60));
        assert_eq!(records(&fixture, Path::new("records"), "replaced").len(), 1);
        assert_eq!(*reopen(&fixture).find("replaced").unwrap(), *new);
        fixture.store.remove("replaced").unwrap();
    }
    fixture.assert_empty();
}

#[test]
fn a_record_that_could_not_be_moved_is_older_than_the_one_in_its_place() {
    let fixture = Fixture::new();
    import(&fixture.store, "x", "old");
    let old = records(&fixture, Path::new("records"), "x").remove(0);
    let content = fs::read(&old).unwrap();
    let new = import(&fixture.store, "x", "new");
    let unsettled = fixture.path("images").join(unsettled());
    fs::create_dir_all(&unsettled).unwrap();
    fs::write(unsettled.join(old.file_name().unwrap()), content).unwrap();
    for _ in 0..2 {
        let store = reopen(&fixture);
        assert_eq!(*store.find("x").unwrap(), *new);
        store.settle(Duration::from_secs(60));
    }
    assert_eq!(fs::read_dir(fixture.path("images/quarantine")).unwrap().count(), 0);
}
