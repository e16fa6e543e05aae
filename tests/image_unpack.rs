//! What becomes of the entries of a layer.

mod image_support;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use image_support::layout::Layout;
use image_support::tar::{Entry, Tar};
use image_support::{Fixture, is_opaque, is_whiteout, names, run, snapshot, xattrs};

#[test]
fn owners_modes_times_and_content_are_kept() {
    let fixture = Fixture::new();
    let file = Entry { uid: 1000, gid: 65535, mode: 0o6755, data: vec![b'x'; 100_000], ..Entry::new(b'0', "d/su") };
    let dir = Entry { uid: 5, gid: 6, mode: 0o2775, mtime: 77, ..Entry::new(b'5', "d/") };
    let root = Entry { mode: 0o711, mtime: 99, ..Entry::new(b'5', "./") };
    let fifo = Entry { mode: 0o622, uid: 3, ..Entry::new(b'6', "d/fifo") };
    let tar =
        Tar::new().entry(&root).entry(&dir).entry(&file).entry(&fifo).file("d/plain", "").symlink("d/l", "/nowhere");
    let layer = fixture.unpack(&tar.end());

    let metadata = |name: &str| fs::symlink_metadata(layer.join(name)).unwrap();
    let su = metadata("d/su");
    assert_eq!((su.uid(), su.gid(), su.mode() & 0o7777, su.len()), (1000, 65535, 0o6755, 100_000));
    assert_eq!(su.mtime(), 1_000_000_000);
    let dir = metadata("d");
    assert_eq!((dir.uid(), dir.gid(), dir.mode() & 0o7777, dir.mtime()), (5, 6, 0o2775, 77));
    let root = metadata("");
    assert_eq!((root.mode() & 0o7777, root.mtime()), (0o711, 99));
    let fifo = metadata("d/fifo");
    assert!(fifo.file_type().is_fifo());
    assert_eq!((fifo.mode() & 0o7777, fifo.uid()), (0o622, 3));
    // Nothing inherits the group of the setgid directory.
    assert_eq!((metadata("d/plain").gid(), metadata("d/l").gid()), (0, 0));
    assert_eq!(metadata("d/l").mtime(), 1_000_000_000);
}

#[test]
fn it_is_what_gnu_tar_makes_of_it() {
    let fixture = Fixture::new();
    let root = fixture.path("root");
    fs::create_dir_all(root.join("a/b/c")).unwrap();
    fs::create_dir_all(root.join("a/d")).unwrap();
    for (at, name) in ["a/1", "a/b/2", "a/b/c/3", "a/d/4", "z"].iter().enumerate() {
        fs::write(root.join(name), vec![b'x'; at * 700]).unwrap();
    }
    let long = "n".repeat(200);
    fs::create_dir_all(root.join(&long).join(&long)).unwrap();
    fs::write(root.join(&long).join(&long).join("f"), "deep").unwrap();
    fs::hard_link(root.join("a/1"), root.join("z1")).unwrap();
    std::os::unix::fs::symlink("x".repeat(300), root.join("link")).unwrap();
    run("chown", &["-h", "12:34", root.join("link").to_str().unwrap(), root.join("a/b").to_str().unwrap()]);
    run("touch", &["-d", "2001-02-03T04:05:06.789", root.join("a/b").to_str().unwrap()]);
    for format in ["gnu", "posix", "pax"] {
        let tar = fixture.path(&format!("{format}.tar"));
        let (format, file, dir) = (format!("--format={format}"), tar.to_str().unwrap(), root.to_str().unwrap());
        run("tar", &[&format, "-C", dir, "-cf", file, "."]);
        let image = fixture.import_path(&tar).unwrap();
        let unpacked = fixture.store.layers_dir().join(&image.layers[0].dir);
        let reference = fixture.path("reference");
        fs::create_dir_all(&reference).unwrap();
        run("tar", &["-C", reference.to_str().unwrap(), "--numeric-owner", "-xpf", file]);
        assert_eq!(snapshot(&unpacked), snapshot(&reference), "{format}");
        let links = fs::metadata(unpacked.join("a/1")).unwrap();
        assert_eq!(links.ino(), fs::metadata(unpacked.join("z1")).unwrap().ino());
        fs::remove_dir_all(&reference).unwrap();
    }
}

#[test]
fn sparse_files_stay_sparse_in_each_format() {
    let fixture = Fixture::new();
    let root = fixture.path("root");
    fs::create_dir_all(&root).unwrap();
    let file = fs::File::create(root.join("sparse")).unwrap();
    for at in 0..40_u64 {
        std::os::unix::fs::FileExt::write_all_at(&file, b"data", at << 20).unwrap();
    }
    file.set_len(50 << 20).unwrap();
    for format in [&["--format=gnu"] as &[&str], &["--format=posix", "--sparse-version=1.0"]] {
        let tar = fixture.path("sparse.tar");
        let common = ["-C", root.to_str().unwrap(), "-Scf", tar.to_str().unwrap(), "sparse"];
        run("tar", &[format, &common].concat());
        let image = fixture.import_path(&tar).unwrap();
        let unpacked = fixture.store.layers_dir().join(&image.layers[0].dir).join("sparse");
        let metadata = fs::metadata(&unpacked).unwrap();
        assert_eq!(metadata.len(), 50 << 20);
        assert!(metadata.blocks() * 512 < 2 << 20, "{format:?}: {} blocks", metadata.blocks());
        assert!(fs::read(&unpacked).unwrap() == fs::read(root.join("sparse")).unwrap(), "{format:?}");
    }
    let tar = fixture.path("sparse.tar");
    let common = ["-C", root.to_str().unwrap(), "-Scf", tar.to_str().unwrap(), "sparse"];
    run("tar", &[&["--format=posix", "--sparse-version=0.1"], &common as &[&str]].concat());
    let error = fixture.import_path(&tar).unwrap_err().to_string();
    assert!(error.contains("sparse files are supported in"), "{error}");
}

#[test]
fn whiteouts_and_opaque_directories_take_the_form_of_overlayfs() {
    let fixture = Fixture::new();
    let tar = Tar::new()
        .dir("a/")
        .file("a/.wh.gone", "")
        // Markers before and after what they belong to.
        .file("early/.wh..wh..opq", "")
        .entry(&Entry { mode: 0o700, ..Entry::new(b'5', "early/") })
        .file("early/kept", "")
        .dir("late/")
        .file("late/kept", "")
        .file("late/.wh..wh..opq", "")
        // A name that is hidden below and given anew here.
        .file(".wh.file", "")
        .file("file", "new")
        .file(".wh.dir", "")
        .dir("dir/")
        .file(".wh.implied", "")
        .file("implied/x", "")
        .file("file2", "new")
        .file(".wh.file2", "")
        .dir("dir2/")
        .file(".wh.dir2", "")
        .file(".wh..wh.plnk/1.2", "aufs");
    let layer = fixture.unpack(&tar.end());
    assert!(is_whiteout(&layer.join("a/gone")));
    for opaque in ["early", "late", "dir", "implied", "dir2"] {
        assert!(is_opaque(&layer.join(opaque)), "{opaque}");
    }
    assert!(!is_opaque(&layer.join("a")) && !is_opaque(&layer));
    assert_eq!(fs::read_to_string(layer.join("file")).unwrap(), "new");
    assert_eq!(fs::read_to_string(layer.join("file2")).unwrap(), "new");
    assert_eq!(fs::metadata(layer.join("early")).unwrap().mode() & 0o7777, 0o700);
    assert!(names(&layer).iter().all(|name| !name.contains(".wh.")), "{:?}", names(&layer));
}

#[test]
fn an_opaque_root_hides_all_layers_below() {
    let fixture = Fixture::new();
    let layers = [
        Tar::new().file("old", "").end(),
        Tar::new().file(".wh..wh..opq", "").file("new", "").end(),
        Tar::new().file("top", "").end(),
    ];
    let layout = Layout::image(&fixture.path("layout"), &layers);
    let image = fixture.import_path(&layout.path).unwrap();
    assert_eq!(image.layers.len(), 2);
    assert!(image.layers[0].opaque);
    // The layer that does not count is not kept either.
    assert_eq!(fs::read_dir(fixture.store.layers_dir()).unwrap().count(), 2);
}

#[test]
fn a_later_entry_replaces_an_earlier_one() {
    let fixture = Fixture::new();
    let tar = Tar::new()
        .file("f", "old")
        .hard_link("other", "f")
        .file("f", "new")
        .symlink("l", "f")
        .file("l", "file now")
        .dir("empty/")
        .file("empty", "file now")
        .file("becomes", "")
        .dir("becomes/")
        .file("becomes/x", "")
        .dir("merged/")
        .file("merged/x", "")
        .entry(&Entry { mode: 0o701, ..Entry::new(b'5', "merged/") });
    let layer = fixture.unpack(&tar.end());
    let read = |name: &str| fs::read_to_string(layer.join(name)).unwrap();
    // The old file keeps its other name and its content.
    assert_eq!((read("f"), read("other")), ("new".into(), "old".into()));
    assert_eq!((read("l"), read("empty")), ("file now".into(), "file now".into()));
    assert!(layer.join("becomes/x").exists() && layer.join("merged/x").exists());
    assert_eq!(fs::metadata(layer.join("merged")).unwrap().mode() & 0o7777, 0o701);
}

#[test]
fn missing_parents_are_made_and_times_put_back() {
    let fixture = Fixture::new();
    let deep = "d/".repeat(200);
    let tar = Tar::new()
        .entry(&Entry { mtime: 11, ..Entry::new(b'5', "a/") })
        .entry(&Entry { mtime: 22, ..Entry::new(b'5', "b/") })
        .file("a/b/c/f", "")
        .file("a/g", "")
        .pax(&[("path", format!("{deep}f").as_bytes())])
        .file("f", "")
        .file("b/x", "")
        .file("a/b/h", "");
    let layer = fixture.unpack(&tar.end());
    let metadata = |name: &str| fs::metadata(layer.join(name)).unwrap();
    assert_eq!((metadata("a").mtime(), metadata("b").mtime()), (11, 22));
    let made = metadata("a/b/c");
    assert_eq!((made.uid(), made.gid(), made.mode() & 0o7777), (0, 0, 0o755));
    assert!(layer.join(deep).join("f").exists());
}

#[test]
fn harmless_attributes_are_set_and_others_are_counted() {
    let fixture = Fixture::new();
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let tar = Tar::new()
        .pax(&[
            ("SCHILY.xattr.user.note", b"a\nb\0c"),
            ("SCHILY.xattr.security.capability", &capability),
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/secret"),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.security.selinux", b"x"),
            ("SCHILY.acl.access", b"user::rwx"),
            ("RHT.security.selinux", b"x"),
        ])
        .entry(&Entry { uid: 9, mode: 0o4755, ..Entry::new(b'0', "ping") });
    let image = fixture.import(&tar.end()).unwrap();
    let file = fixture.store.layers_dir().join(&image.layers[0].dir).join("ping");
    let shown = xattrs(&file);
    assert!(shown.contains("user.note=") && shown.contains("security.capability="), "{shown}");
    assert!(!shown.contains("overlay") && !shown.contains("selinux"), "{shown}");
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o4755);
    assert_eq!(image.layers[0].dropped_xattrs, 6);
}

#[test]
fn device_nodes_are_left_out_and_counted() {
    let fixture = Fixture::new();
    let tar = Tar::new().entry(&Entry::new(b'3', "null")).entry(&Entry::new(b'4', "disk")).file("f", "");
    let image = fixture.import(&tar.end()).unwrap();
    assert_eq!(image.layers[0].skipped_devices, 2);
    assert_eq!(names(&fixture.store.layers_dir().join(&image.layers[0].dir)), ["f"]);
}
