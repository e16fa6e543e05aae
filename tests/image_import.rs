//! Every format that an image may come in, made by the tools that people use.

mod image_support;

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bivouac::image::{ImageConfig, NoProgress, Progress, Source};
use image_support::layout::Layout;
use image_support::tar::{Tar, gzip, zstd};
use image_support::{Fixture, is_opaque, is_whiteout, names, run};

/// A layout of two layers, the second with whiteouts, made by umoci.
fn umoci_layout(fixture: &Fixture) -> PathBuf {
    let layout = fixture.path("umoci");
    let image = format!("{}:latest", layout.display());
    run("umoci", &["init", "--layout", layout.to_str().unwrap()]);
    run("umoci", &["new", "--image", &image]);
    let bundle = fixture.path("bundle");
    run("umoci", &["unpack", "--image", &image, bundle.to_str().unwrap()]);
    let root = bundle.join("rootfs");
    fs::create_dir_all(root.join("etc/d")).unwrap();
    fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
    fs::write(root.join("etc/gone"), "").unwrap();
    fs::write(root.join("etc/d/inner"), "").unwrap();
    run("umoci", &["repack", "--refresh-bundle", "--image", &image, bundle.to_str().unwrap()]);
    fs::remove_file(root.join("etc/gone")).unwrap();
    fs::remove_dir_all(root.join("etc/d")).unwrap();
    fs::write(root.join("new"), "").unwrap();
    run("umoci", &["repack", "--image", &image, bundle.to_str().unwrap()]);
    run(
        "umoci",
        &[
            "config",
            "--image",
            &image,
            "--config.env=A=b",
            "--config.user=7:8",
            "--config.workingdir=/w",
            "--config.cmd=/x",
            "--config.entrypoint=/e",
        ],
    );
    layout
}

fn skopeo(from: &str, to: &str) {
    run("skopeo", &["--insecure-policy", "copy", from, to]);
}

fn assert_is_the_image(fixture: &Fixture, path: &Path) {
    let image = fixture.import_path(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(image.name, "test:latest");
    let config = &image.config;
    assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("7:8", "/w"));
    assert!(config.env.contains(&("A".into(), "b".into())));
    assert_eq!((config.entrypoint.join(" "), config.cmd.join(" ")), ("/e".into(), "/x".into()));
    let layers: Vec<_> = image.layers.iter().map(|layer| fixture.store.layers_dir().join(&layer.dir)).collect();
    assert_eq!(layers.len(), 2);
    assert_eq!(names(&layers[0]), ["etc", "etc/d", "etc/d/inner", "etc/gone", "etc/passwd"]);
    assert!(is_whiteout(&layers[1].join("etc/gone")) && is_whiteout(&layers[1].join("etc/d")));
    assert!(layers[1].join("new").exists());
}

#[test]
fn layouts_and_archives_of_umoci_and_skopeo() {
    let fixture = Fixture::new();
    let layout = umoci_layout(&fixture);
    let from = format!("oci:{}:latest", layout.display());
    assert_is_the_image(&fixture, &layout);
    for (kind, name) in [("oci", "copied"), ("oci-archive", "oci.tar"), ("docker-archive", "docker.tar")] {
        let path = fixture.path(name);
        let reference = if kind == "docker-archive" { ":evil/name:1" } else { ":x" };
        skopeo(&from, &format!("{kind}:{}{reference}", path.display()));
        assert_is_the_image(&fixture, &path);
        if path.is_file() {
            let bytes = fs::read(&path).unwrap();
            for (ending, compressed) in [("gz", gzip(&bytes)), ("zst", zstd(&bytes))] {
                let path = fixture.path(&format!("{name}.{ending}"));
                fs::write(&path, compressed).unwrap();
                assert_is_the_image(&fixture, &path);
            }
            let streamed = fixture.import(&bytes).unwrap();
            assert_eq!(streamed.layers.len(), 2);
        }
    }
    let zstd_layers = fixture.path("zstd");
    run(
        "skopeo",
        &[
            "--insecure-policy",
            "copy",
            "--dest-compress-format=zstd",
            &from,
            &format!("oci:{}:x", zstd_layers.display()),
        ],
    );
    assert_is_the_image(&fixture, &zstd_layers);
    // All of them are the same two layers; and the name inside of an archive is nobody's.
    assert_eq!(fs::read_dir(fixture.store.layers_dir()).unwrap().count(), 2);
    assert_eq!(fixture.store.list().len(), 1);
}

#[test]
fn a_plain_root_in_each_wrapping_is_one_layer() {
    let fixture = Fixture::new();
    let tar = Tar::new().dir("./").dir("bin/").file("bin/sh", "#!").end();
    let mut digests = Vec::new();
    for bytes in [tar.clone(), gzip(&tar), zstd(&tar), [gzip(&tar[..700]), gzip(&tar[700..])].concat()] {
        let path = fixture.path("root.tar");
        fs::write(&path, &bytes).unwrap();
        let image = fixture.import_path(&path).unwrap();
        assert_eq!(image.config, ImageConfig::for_plain_root());
        assert_eq!(fixture.import(&bytes).unwrap().digest, image.digest);
        digests.push(image.digest.clone());
    }
    digests.dedup();
    assert_eq!(digests.len(), 1);
    assert_eq!(fs::read_dir(fixture.store.layers_dir()).unwrap().count(), 1);
}

#[test]
fn a_plain_root_may_be_given_a_config() {
    let fixture = Fixture::new();
    let tar = Tar::new().file("x", "").end();
    let config = ImageConfig { cmd: vec!["/x".into()], ..ImageConfig::default() };
    let source = Source::Reader(Box::new(Cursor::new(tar)));
    let image = fixture.store.import_with_config(source, Some("x"), Some(config.clone()), &NoProgress).unwrap();
    assert_eq!(image.config, config);
}

#[test]
fn a_root_that_begins_like_an_image_is_a_root() {
    let fixture = Fixture::new();
    let tar = Tar::new().dir("blobs/").file("index.json", "{}").file("bin/sh", "").end();
    assert_eq!(names(&fixture.unpack(&tar)), ["bin", "bin/sh", "blobs", "index.json"]);
    assert_eq!(names(&fixture.unpack(&gzip(&tar))).len(), 4);
}

#[test]
fn the_name_is_the_callers_or_the_files() {
    let fixture = Fixture::new();
    let tar = Tar::new().file("x", "").end();
    let path = fixture.path("My Root.tar.gz");
    fs::write(&path, gzip(&tar)).unwrap();
    let named = fixture.store.import(Source::Path(&path), None, &NoProgress).unwrap();
    assert_eq!(named.name, "imported/my-root:latest");
    let stream = fixture.store.import(Source::Reader(Box::new(Cursor::new(tar))), None, &NoProgress).unwrap();
    assert_eq!(stream.name, format!("imported/{}:latest", &stream.digest[7..19]));
    for bad in ["", "../x", "a@sha256:0", "A"] {
        assert!(fixture.store.import(Source::Path(&path), Some(bad), &NoProgress).is_err(), "{bad}");
    }
}

#[test]
fn an_archive_does_not_name_itself() {
    let fixture = Fixture::new();
    let alpine = fixture.store.import(
        Source::Reader(Box::new(Cursor::new(Tar::new().file("real", "").end()))),
        Some("library/alpine"),
        &NoProgress,
    );
    let digest = alpine.unwrap().digest.clone();
    let layout = Layout::new(&fixture.path("layout"));
    let manifest = layout.manifest(&[Tar::new().file("evil", "").end()]);
    let mut descriptor = layout.document(image_support::layout::MANIFEST, &manifest);
    descriptor["annotations"] = serde_json::json!({
        "org.opencontainers.image.ref.name": "library/alpine:latest",
        "io.containerd.image.name": "docker.io/library/alpine:latest",
    });
    layout.index(&[descriptor]);
    let archive = fixture.path("innocent.tar");
    fs::write(&archive, layout.archive()).unwrap();
    let imported = fixture.store.import(Source::Path(&archive), None, &NoProgress).unwrap();
    assert_eq!(imported.name, "imported/innocent:latest");
    assert_eq!(fixture.store.find("alpine").unwrap().digest, digest);
}

#[test]
fn of_several_images_the_one_that_the_caller_names() {
    let fixture = Fixture::new();
    let layout = umoci_layout(&fixture);
    run("umoci", &["tag", "--image", &format!("{}:latest", layout.display()), "same"]);
    // Two tags of one content are no choice to make.
    assert_is_the_image(&fixture, &layout);
    run("umoci", &["config", "--image", &format!("{}:same", layout.display()), "--tag=other", "--config.user=9"]);
    let latest = fixture.import_path(&layout).unwrap();
    assert_eq!(latest.config.user, "7:8", "the tag of the default name is `latest`");
    let other = fixture.store.import(Source::Path(&layout), Some("x:other"), &NoProgress).unwrap();
    assert_eq!(other.config.user, "9");
    let error = fixture.store.import(Source::Path(&layout), Some("x:none"), &NoProgress).unwrap_err().to_string();
    assert!(error.contains("\"other\""), "{error}");
}

#[test]
fn progress_ends_at_the_total() {
    #[derive(Default)]
    struct Seen(AtomicU64, AtomicU64);
    impl Progress for Seen {
        fn phase(&self, _text: &str) {}
        fn advance(&self, done: u64, total: u64) {
            self.0.fetch_max(done, Ordering::Relaxed);
            self.1.store(total, Ordering::Relaxed);
        }
    }
    let fixture = Fixture::new();
    let layers = [Tar::new().file("a", vec![1; 3_000_000]).end(), Tar::new().file("b", vec![2; 2_000_000]).end()];
    let layout = Layout::image(&fixture.path("layout"), &layers);
    let seen = Seen::default();
    fixture.store.import(Source::Path(&layout.path), Some("x"), &seen).unwrap();
    let total = layers.iter().map(|layer| layer.len() as u64).sum::<u64>();
    assert_eq!((seen.0.into_inner(), seen.1.into_inner()), (total, total));
}

#[test]
fn the_layers_that_are_made_work_in_overlayfs_terms() {
    let fixture = Fixture::new();
    let lower = Tar::new().dir("d/").file("d/below", "").end();
    let upper = Tar::new().dir("d/").file("d/.wh..wh..opq", "").file("d/above", "").end();
    let layout = Layout::image(&fixture.path("layout"), &[lower, upper]);
    let image = fixture.import_path(&layout.path).unwrap();
    let upper = fixture.store.layers_dir().join(&image.layers[1].dir);
    assert!(is_opaque(&upper.join("d")));
    assert_eq!(names(&upper), ["d", "d/above"]);
}

#[test]
fn a_reader_that_fails_is_reported_and_leaves_nothing() {
    struct Failing(Cursor<Vec<u8>>);
    impl std::io::Read for Failing {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            match self.0.read(into)? {
                0 => Err(std::io::ErrorKind::ConnectionAborted.into()),
                count => Ok(count),
            }
        }
    }
    let fixture = Fixture::new();
    let mut tar = Vec::new();
    tar.write_all(&Tar::new().file("x", vec![0; 300_000]).0).unwrap();
    let source = Source::Reader(Box::new(Failing(Cursor::new(tar))));
    assert!(fixture.store.import(source, Some("x"), &NoProgress).is_err());
    fixture.assert_empty();
}
