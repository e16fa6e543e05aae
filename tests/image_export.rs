//! Images that go out again: what skopeo and umoci make of them, and what comes back.

mod image_support;

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bivouac::image::{Image, ImageStore, NoProgress, Source};
use image_support::layout::Layout;
use image_support::tar::{Entry, Tar};
use image_support::{Fixture, run, snapshot};

const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn export(store: &ImageStore, name: &str) -> Vec<u8> {
    let mut archive = Vec::new();
    store.export(name).unwrap().write(&mut archive).unwrap();
    archive
}

/// Everything that an archive can say of a layer, for the layer below another.
fn lower() -> Vec<u8> {
    let long = "n".repeat(120);
    let owned = Entry { uid: 1000, gid: 65535, mode: 0o6755, data: vec![7; 70_000], ..Entry::new(b'0', "bin/su") };
    Tar::new()
        .entry(&Entry { mode: 0o711, mtime: 99, ..Entry::new(b'5', "./") })
        .entry(&Entry { mode: 0o2775, gid: 8, mtime: 77, ..Entry::new(b'5', "bin/") })
        .entry(&owned)
        .hard_link("bin/su-too", "bin/su")
        .pax(&[("SCHILY.xattr.security.capability", &CAPABILITY), ("SCHILY.xattr.user.note", b"a\nb\0c")])
        .file("bin/ping", "caps")
        .pax(&[("mtime", b"1500000000.123456789")])
        .file("fine", "")
        .symlink("link", "bin/su")
        .hard_link("link-too", "link")
        .pax(&[("path", long.as_bytes())])
        .file("x", "long name")
        .pax(&[("linkpath", format!("/{long}").as_bytes())])
        .symlink("to-long", "x")
        .dir("gone/")
        .file("gone/inner", "")
        .dir("covered/")
        .file("covered/below", "")
        .file("file", "old")
        .end()
}

/// What the upper layer says of what is below it.
fn upper() -> Vec<u8> {
    Tar::new()
        .entry(&Entry { mode: 0o711, mtime: 99, ..Entry::new(b'5', "./") })
        .file(".wh.gone", "")
        .dir("covered/")
        .file("covered/.wh..wh..opq", "")
        .file("covered/above", "")
        .file("file", "new")
        .end()
}

fn fixture() -> (Fixture, Layout, Arc<Image>) {
    let fixture = Fixture::new();
    let layout = Layout::image(&fixture.path("layout"), &[lower(), upper()]);
    let image = fixture.import_path(&layout.path).unwrap();
    (fixture, layout, image)
}

/// A tree with its attributes and the number of each file's names.
fn tree(root: &Path) -> BTreeMap<PathBuf, String> {
    let found = snapshot(root).into_iter().map(|(path, what)| {
        let own = root.join(&path);
        let metadata = fs::symlink_metadata(&own).unwrap();
        let xattrs =
            if metadata.is_symlink() || path.to_str().is_none() { String::new() } else { image_support::xattrs(&own) };
        // The line that names the file differs between two trees.
        let xattrs: String = xattrs.lines().skip(1).collect();
        let names = if metadata.is_dir() { 0 } else { metadata.nlink() };
        (path, format!("{what} {names} {xattrs}"))
    });
    found.collect()
}

fn trees(fixture: &Fixture, image: &Image) -> Vec<BTreeMap<PathBuf, String>> {
    let layers = image.layers.iter();
    layers.map(|layer| without_whiteout_times(tree(&fixture.store.layers_dir().join(&layer.dir)))).collect()
}

/// When a whiteout was made means nothing.
fn without_whiteout_times(mut tree: BTreeMap<PathBuf, String>) -> BTreeMap<PathBuf, String> {
    for what in tree.values_mut().filter(|what| what.starts_with("20000 ")) {
        "a whiteout".clone_into(what);
    }
    tree
}

#[test]
fn what_goes_out_comes_back_as_it_was() {
    let (fixture, _, image) = fixture();
    let archive = export(&fixture.store, "test");
    assert!(archive == export(&fixture.store, "test"), "the same image is the same archive");
    let elsewhere = Fixture::new();
    let back = elsewhere.import(&archive).unwrap();
    assert_eq!(back.config, image.config);
    assert_eq!((back.created, &back.architecture), (image.created, &image.architecture));
    assert_eq!(trees(&elsewhere, &back), trees(&fixture, &image));
    // What has gone out once stays what it is.
    assert!(archive == export(&elsewhere.store, "test"));
    assert!(fixture.store.export("nosuch").is_err());
}

#[test]
fn skopeo_and_umoci_take_it_as_they_take_the_original() {
    let (fixture, layout, _) = fixture();
    let archive = fixture.path("exported.tar");
    fs::write(&archive, export(&fixture.store, "test")).unwrap();
    let copied = fixture.path("copied");
    let from = format!("oci-archive:{}:latest", archive.display());
    run("skopeo", &["--insecure-policy", "copy", &from, &format!("oci:{}:latest", copied.display())]);
    let unpack = |layout: &Path, tag: &str, to: &str| {
        let bundle = fixture.path(to);
        run("umoci", &["unpack", "--image", &format!("{}:{tag}", layout.display()), bundle.to_str().unwrap()]);
        tree(&bundle.join("rootfs"))
    };
    let tagged = fixture.path("tagged");
    let original = format!("oci:{}", layout.path.display());
    run("skopeo", &["--insecure-policy", "copy", &original, &format!("oci:{}:latest", tagged.display())]);
    let (ours, theirs) = (unpack(&copied, "latest", "ours"), unpack(&tagged, "latest", "theirs"));
    assert!(ours.contains_key(Path::new("covered/above")) && !ours.contains_key(Path::new("covered/below")));
    assert!(!ours.contains_key(Path::new("gone")));
    assert_eq!(ours, theirs);
}

#[test]
fn strange_names_and_times_come_back() {
    let fixture = Fixture::new();
    let tar = Tar::new()
        .file(b"\xff\xfe", "not text")
        .file("a\nb", "two lines")
        .pax(&[("path", &[b'\xe9'; 150])])
        .file("x", "long and not text")
        .pax(&[("mtime", b"-1.5")])
        .file("before 1970", "")
        .pax(&[("mtime", b"99999999999")])
        .file("far off", "")
        .entry(&Entry { mode: 0o622, uid: 3, ..Entry::new(b'6', "fifo") })
        .file(".wh.gone", "")
        .end();
    fixture.unpack(&tar);
    let image = fixture.store.find("test").unwrap();
    let elsewhere = Fixture::new();
    let back = elsewhere.import(&export(&fixture.store, "test")).unwrap();
    assert_eq!(trees(&elsewhere, &back), trees(&fixture, &image));
    let layer = elsewhere.store.layers_dir().join(&back.layers[0].dir);
    assert_eq!(fs::metadata(layer.join("before 1970")).unwrap().mtime(), -2);
}

#[test]
fn a_sparse_file_goes_out_without_its_holes() {
    let fixture = Fixture::new();
    let map = format!("3\n0\n4\n{}\n4\n{}\n0\n", 20 << 20, 40 << 20);
    let mut data = map.into_bytes();
    data.resize(512, 0);
    data.extend_from_slice(b"headtail");
    let records: [(&str, &[u8]); 4] = [
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"sparse"),
        ("GNU.sparse.realsize", b"41943040"),
    ];
    fixture.unpack(&Tar::new().pax(&records).file("x", data).end());
    let archive = export(&fixture.store, "test");
    assert!(archive.len() < 100_000, "{}", archive.len());
    let elsewhere = Fixture::new();
    let back = elsewhere.import(&archive).unwrap();
    let read = |fixture: &Fixture, image: &Image| {
        let path = fixture.store.layers_dir().join(&image.layers[0].dir).join("sparse");
        assert!(fs::metadata(&path).unwrap().blocks() * 512 < 1 << 20);
        fs::read(path).unwrap()
    };
    let there = read(&elsewhere, &back);
    assert_eq!((there.len(), &there[20 << 20..(20 << 20) + 4]), (40 << 20, &b"tail"[..]));
    assert!(there == read(&fixture, &fixture.store.find("test").unwrap()));
    // Other readers know the form.
    let file = fixture.path("layer.tar");
    fs::write(&file, &archive).unwrap();
    let blobs = fixture.path("blobs");
    fs::create_dir(&blobs).unwrap();
    run("tar", &["-C", blobs.to_str().unwrap(), "-xf", file.to_str().unwrap()]);
    let layer = back.layers[0].dir.clone();
    let extracted = fixture.path("extracted");
    fs::create_dir(&extracted).unwrap();
    let blob = blobs.join("blobs/sha256").join(layer);
    run("tar", &["-C", extracted.to_str().unwrap(), "-xf", blob.to_str().unwrap()]);
    assert!(fs::read(extracted.join("sparse")).unwrap() == there);
}

#[test]
fn a_layer_stays_while_it_goes_out() {
    let (fixture, _, _) = fixture();
    let whole = export(&fixture.store, "test");
    let exporting = fixture.store.export("test").unwrap();
    fixture.store.remove("test").unwrap();
    let mut archive = Vec::new();
    exporting.write(&mut archive).unwrap();
    assert!(archive == whole);
    drop(exporting);
    fixture.assert_empty();
}

#[test]
fn a_layer_that_changes_meanwhile_is_told() {
    let fixture = Fixture::new();
    let layer = fixture.unpack(&Tar::new().file("f", "before").end());
    let exporting = fixture.store.export("test").unwrap();
    fs::write(layer.join("f"), "after!").unwrap();
    let error = exporting.write(&mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("it changed while it was read"), "{error}");
}

#[test]
fn a_hundred_layers_and_layers_of_the_same_content() {
    let fixture = Fixture::new();
    let mut layers: Vec<_> =
        (0..99).map(|at| Tar::new().dir("./").file(format!("f{at}"), format!("{at}")).end()).collect();
    // Other bytes, the same tree.
    layers.push([layers[0].clone(), vec![0; 512]].concat());
    let layout = Layout::image(&fixture.path("layout"), &layers);
    let image = fixture.import_path(&layout.path).unwrap();
    let elsewhere = Fixture::new();
    let archive = export(&fixture.store, "test");
    let back =
        elsewhere.store.import(Source::Reader(Box::new(Cursor::new(archive))), Some("test"), &NoProgress).unwrap();
    assert_eq!((image.layers.len(), back.layers.len()), (100, 99));
}
