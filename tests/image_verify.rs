//! Layers that are not any more what was unpacked: found, set aside, and brought in again.

mod image_support;

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bivouac::image::{Image, ImageError, ImageStore, UnpackLimits, Verdict, Verified};
use image_support::layout::Layout;
use image_support::tar::{Entry, Tar};
use image_support::{Fixture, run};

fn verify(store: &ImageStore) -> Vec<Verified> {
    let mut found = Vec::new();
    let told = store.verify(&mut |verified| {
        found.push(verified);
        true
    });
    told.unwrap();
    found
}

fn verdict(store: &ImageStore) -> Verdict {
    let found = verify(store);
    assert_eq!(found.len(), 1);
    found[0].verdict.clone()
}

/// A layer of everything that a layer can be made of.
fn layer() -> Vec<u8> {
    let map = format!("2\n{}\n4\n{}\n0\n", 20 << 20, 40 << 20);
    let mut sparse = map.into_bytes();
    sparse.resize(512, 0);
    sparse.extend_from_slice(b"data");
    let records: [(&str, &[u8]); 4] = [
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"sparse"),
        ("GNU.sparse.realsize", b"41943040"),
    ];
    Tar::new()
        .dir("d/")
        .file("d/large", vec![b'x'; 300_000])
        .file("d/small", "some text")
        .file("implied/parent/file", "")
        .pax(&[("SCHILY.xattr.user.note", b"a")])
        .file("attributes", "")
        .file("linked", "")
        .hard_link("linked-too", "linked")
        .symlink("link", "d/small")
        .entry(&Entry::new(b'6', "fifo"))
        .file(".wh.gone", "")
        .file("d/.wh..wh..opq", "")
        .pax(&records)
        .file("x", sparse)
        // Replaced, so that inodes are used again.
        .file("d/small", "other text")
        .file("new", "")
        .end()
}

/// Writes, and has the file look as if nobody had.
fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    let time = file.metadata().unwrap().modified().unwrap();
    file.write_all_at(bytes, at).unwrap();
    file.set_modified(time).unwrap();
}

/// Does something to an entry of a directory, and has the directory look as if nobody had.
fn in_directory(directory: &Path, change: impl FnOnce()) {
    let time = fs::metadata(directory).unwrap().modified().unwrap();
    change();
    fs::File::open(directory).unwrap().set_modified(time).unwrap();
}

type Damage = Box<dyn Fn(&Path)>;

fn damages() -> Vec<(&'static str, Damage)> {
    let root = |change: fn(&Path)| -> Damage { Box::new(move |layer| in_directory(layer, || change(layer))) };
    vec![
        ("a byte", Box::new(|layer| overwrite(&layer.join("d/large"), 299_999, b"y"))),
        ("a bit of a small file", Box::new(|layer| overwrite(&layer.join("d/small"), 0, b"n"))),
        ("a block of zeros", Box::new(|layer| overwrite(&layer.join("d/large"), 4096, &[0; 4096]))),
        ("data in a hole", Box::new(|layer| overwrite(&layer.join("sparse"), 10 << 20, b"x"))),
        (
            "the end cut off",
            Box::new(|layer| {
                let file = fs::OpenOptions::new().write(true).open(layer.join("d/large")).unwrap();
                let time = file.metadata().unwrap().modified().unwrap();
                file.set_len(299_999).unwrap();
                file.set_modified(time).unwrap();
            }),
        ),
        ("a time", Box::new(|layer| fs::write(layer.join("linked"), "").unwrap())),
        (
            "a mode",
            Box::new(|layer| {
                fs::set_permissions(layer.join("d/small"), fs::Permissions::from_mode(0o4644)).unwrap();
            }),
        ),
        ("an owner", Box::new(|layer| std::os::unix::fs::lchown(layer.join("link"), Some(7), None).unwrap())),
        (
            "an attribute",
            Box::new(|layer| {
                drop(run("setfattr", &["-n", "user.note", "-v", "b", layer.join("attributes").to_str().unwrap()]));
            }),
        ),
        (
            "an attribute that is new",
            Box::new(|layer| {
                drop(run("setfattr", &["-n", "user.x", "-v", "b", layer.join("d/small").to_str().unwrap()]));
            }),
        ),
        (
            "what was opaque",
            Box::new(|layer| {
                drop(run("setfattr", &["-x", "trusted.overlay.opaque", layer.join("d").to_str().unwrap()]));
            }),
        ),
        ("a file that is gone", root(|layer| fs::remove_file(layer.join("new")).unwrap())),
        ("a whiteout that is gone", root(|layer| fs::remove_file(layer.join("gone")).unwrap())),
        ("a file that is new", root(|layer| fs::write(layer.join("stray"), "").unwrap())),
        ("a name of a file that is new", root(|layer| fs::hard_link(layer.join("new"), layer.join("new2")).unwrap())),
        (
            "a link",
            root(|layer| {
                let time = fs::symlink_metadata(layer.join("link")).unwrap().mtime();
                fs::remove_file(layer.join("link")).unwrap();
                symlink("d/large", layer.join("link")).unwrap();
                let date = format!("@{time}");
                drop(run("touch", &["-h", "-d", &date, layer.join("link").to_str().unwrap()]));
            }),
        ),
        (
            "two files in each other's place",
            root(|layer| {
                fs::rename(layer.join("new"), layer.join("kept")).unwrap();
                fs::rename(layer.join("attributes"), layer.join("new")).unwrap();
                fs::rename(layer.join("kept"), layer.join("attributes")).unwrap();
            }),
        ),
        ("all of it", Box::new(|layer| fs::remove_dir_all(layer).unwrap())),
    ]
}

#[test]
fn every_damage_is_found_and_undone_by_bringing_the_layer_in_again() {
    let fixture = Fixture::new();
    let tar = layer();
    let path = fixture.unpack(&tar);
    assert_eq!(verdict(&fixture.store), Verdict::Sound);
    for (what, damage) in damages() {
        damage(&path);
        let found = verify(&fixture.store);
        assert!(matches!(found[0].verdict, Verdict::Damaged(_)), "{what}: {found:?}");
        assert_eq!(found[0].images, ["test:latest"], "{what}");
        assert!(!path.exists(), "{what}: it is set aside");
        match fixture.store.find("test") {
            Err(error @ ImageError::Damaged { pulled: false, .. }) => {
                assert!(error.to_string().contains("import"), "{what}")
            }
            other => panic!("{what}: {other:?}"),
        }
        assert!(fixture.store.is_damaged(&fixture.store.look_up("test").unwrap()));
        assert_eq!(verify(&fixture.store).len(), 0, "{what}: nothing is left to be looked at");
        assert_eq!(fixture.unpack(&tar), path);
        assert_eq!(verdict(&fixture.store), Verdict::Sound, "{what}");
        assert!(!fixture.store.is_damaged(&fixture.store.find("test").unwrap()));
    }
    fixture.assert_canary();
}

fn aside(fixture: &Fixture) -> Vec<PathBuf> {
    fs::read_dir(fixture.path("images/quarantine")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn reopen(fixture: &Fixture) -> ImageStore {
    ImageStore::open(&fixture.path("images"), UnpackLimits::default()).unwrap()
}

#[test]
fn a_damaged_layer_stays_for_whoever_has_it_mounted() {
    let fixture = Fixture::new();
    let layers = [Tar::new().file("a", "").end(), Tar::new().file("b", "").end()];
    let layout = Layout::image(&fixture.path("layout"), &layers);
    let image = fixture.import_path(&layout.path).unwrap();
    fixture.store.hold(&image, "sandbox");
    fs::write(fixture.store.layers_dir().join(&image.layers[1].dir).join("b"), "x").unwrap();
    let found = verify(&fixture.store);
    assert_eq!(found.iter().filter(|verified| verified.verdict == Verdict::Sound).count(), 1);
    assert!(fixture.store.prune().is_empty());
    assert_eq!(aside(&fixture).len(), 1);

    // After a restart as well: the image is here, and only new sandboxes cannot be made of it.
    let store = reopen(&fixture);
    assert!(matches!(store.find("test"), Err(ImageError::Damaged { .. })));
    assert!(store.find_and_hold("test", "another").is_err());
    store.hold_again(&image.digest, "sandbox").unwrap();
    store.prune();
    assert!(aside(&fixture)[0].join("b").exists());
    store.release("sandbox");
    store.prune();
    assert_eq!(aside(&fixture), [] as [PathBuf; 0]);

    // Without its damaged layer it still is known, and can be brought in again or removed.
    let again = reopen(&fixture);
    assert!(again.find("test").is_err());
}

#[test]
fn an_image_without_a_layer_is_still_an_image_while_the_layer_is_set_aside() {
    let fixture = Fixture::new();
    let layer = fixture.unpack(&Tar::new().file("a", "").end());
    fs::write(layer.join("a"), "x").unwrap();
    verify(&fixture.store);
    let store = reopen(&fixture);
    assert_eq!(store.list().len(), 1);
    store.remove("test").unwrap();
    store.prune();
    fixture.assert_empty();
}

#[test]
fn the_same_archive_has_the_same_checksum_everywhere() {
    let checksum = |image: &Image| image.layers[0].checksum.clone().unwrap();
    let (one, two) = (Fixture::new(), Fixture::new());
    one.unpack(&Tar::new().file("takes the first inodes", "").end());
    let (first, second) = (one.import(&layer()).unwrap(), two.import(&layer()).unwrap());
    assert_eq!(checksum(&first), checksum(&second));
    assert!(checksum(&first).starts_with("tree1:"));
    assert_ne!(checksum(&first), checksum(&two.import(&Tar::new().end()).unwrap()));
}

#[test]
fn a_layer_of_an_older_version_cannot_be_verified_and_says_so() {
    let fixture = Fixture::new();
    let tar = Tar::new().file("a", "").end();
    fixture.unpack(&tar);
    fixture.store.settle(Duration::from_secs(60));
    let record = fs::read_dir(fixture.path("images/records")).unwrap().next().unwrap().unwrap().path();
    let mut document: serde_json::Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    let image = document["image"].as_object_mut().unwrap();
    image.remove("pulled").unwrap();
    image["layers"][0].as_object_mut().unwrap().remove("checksum").unwrap();
    fs::write(&record, document.to_string()).unwrap();
    let store = reopen(&fixture);
    assert_eq!(verdict(&store), Verdict::Unknown);
    assert!(store.find("test").is_ok());
}
