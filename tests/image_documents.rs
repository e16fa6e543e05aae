//! Manifests, indexes and configs that are not what they are said to be.

mod image_support;

use std::fs;
use std::io::Cursor;

use bivouac::image::{Digest, NoProgress, Source};
use image_support::Fixture;
use image_support::layout::{CONFIG, INDEX, LAYER, Layout, MANIFEST, architecture};
use image_support::tar::{Tar, gzip, zstd};
use serde_json::{Value, json};

fn tar() -> Vec<u8> {
    Tar::new().file("f", "x").end()
}

/// Makes a layout of one layer, lets `change` spoil it, and expects the import to be refused for `why`.
fn spoiled(name: &str, why: &str, change: impl FnOnce(&Layout, Value)) {
    let fixture = Fixture::new();
    let layout = Layout::new(&fixture.path("layout"));
    let manifest = layout.manifest(&[tar()]);
    change(&layout, manifest);
    let from_directory = fixture.import_path(&layout.path);
    let error =
        from_directory.map(|image| format!("it was taken: {image:?}")).unwrap_or_else(|error| error.to_string());
    assert!(error.contains(why), "{name}: {error}");
    fixture.assert_empty();
    // The same in an archive, where parts are found in another way.
    let archive = fixture.import(&layout.archive());
    assert!(archive.is_err(), "{name}, as an archive");
    fixture.assert_empty();
}

fn with_manifest(layout: &Layout, manifest: &Value) {
    layout.index(&[layout.document(MANIFEST, manifest)]);
}

#[test]
fn content_that_is_not_what_its_descriptor_says() {
    spoiled("flipped byte of a layer", "its content is", |layout, manifest| {
        with_manifest(layout, &manifest);
        let path = layout.blob_path(&manifest["layers"][0]);
        let mut bytes = fs::read(&path).unwrap();
        bytes[512] ^= 1;
        fs::write(&path, bytes).unwrap();
    });
    spoiled("longer layer", "its manifest says", |layout, manifest| {
        with_manifest(layout, &manifest);
        let path = layout.blob_path(&manifest["layers"][0]);
        fs::write(&path, [fs::read(&path).unwrap(), vec![0; 512]].concat()).unwrap();
    });
    spoiled("shorter layer", "its manifest says", |layout, manifest| {
        with_manifest(layout, &manifest);
        let path = layout.blob_path(&manifest["layers"][0]);
        fs::write(&path, &fs::read(&path).unwrap()[..512]).unwrap();
    });
    spoiled("missing layer", "", |layout, manifest| {
        with_manifest(layout, &manifest);
        fs::remove_file(layout.blob_path(&manifest["layers"][0])).unwrap();
    });
    spoiled("changed config", "another digest", |layout, manifest| {
        with_manifest(layout, &manifest);
        let path = layout.blob_path(&manifest["config"]);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("\"A=1\"", "\"A=2\"")).unwrap();
    });
    spoiled("changed manifest", "its descriptor says", |layout, manifest| {
        let descriptor = layout.document(MANIFEST, &manifest);
        layout.index(std::slice::from_ref(&descriptor));
        fs::write(layout.blob_path(&descriptor), "{}").unwrap();
    });
    spoiled("layer that is not the config's", "the config says", |layout, mut manifest| {
        manifest["layers"][0] = layout.blob(LAYER, &Tar::new().file("other", "").end());
        with_manifest(layout, &manifest);
    });
    spoiled("size of a descriptor", "bytes", |layout, mut manifest| {
        manifest["layers"][0]["size"] = json!(1);
        with_manifest(layout, &manifest);
    });
}

#[test]
fn digests_that_are_paths_or_of_other_algorithms() {
    let hex = Digest::of(b"x").hex();
    for digest in [
        "sha256:../../x".to_owned(),
        "../../canary/file".to_owned(),
        format!("sha256:{}", hex.to_uppercase()),
        format!("sha256:{hex}/../x"),
        format!("sha512:{hex}{hex}"),
        format!("md5:{}", &hex[..32]),
        "sha256:".to_owned(),
        String::new(),
    ] {
        for place in ["config", "layer", "manifest"] {
            spoiled(&format!("{place} {digest}"), "", |layout, mut manifest| {
                let mut descriptor = json!({"mediaType": MANIFEST, "digest": digest, "size": 1});
                match place {
                    "config" => manifest["config"]["digest"] = json!(digest),
                    "layer" => manifest["layers"][0]["digest"] = json!(digest),
                    _ => return layout.index(&[descriptor]),
                }
                descriptor = layout.document(MANIFEST, &manifest);
                layout.index(&[descriptor]);
            });
        }
    }
    spoiled("diff_id", "digest", |layout, mut manifest| {
        manifest["config"] = layout.document(CONFIG, &Layout::config(&["sha256:../../x".into()]));
        with_manifest(layout, &manifest);
    });
}

#[test]
fn documents_that_are_two_things() {
    spoiled("index with layers", "not an image index", |layout, manifest| {
        let descriptor = layout.document(MANIFEST, &manifest);
        layout.index_document(&json!({"schemaVersion": 2, "manifests": [descriptor], "layers": []}));
    });
    spoiled("manifest with manifests", "not an image manifest", |layout, mut manifest| {
        manifest["manifests"] = json!([]);
        with_manifest(layout, &manifest);
    });
    spoiled("manifest that says it is an index", "not an image manifest", |layout, mut manifest| {
        manifest["mediaType"] = json!(INDEX);
        with_manifest(layout, &manifest);
    });
    spoiled("manifest pointed at as an index", "not an image index", |layout, manifest| {
        layout.index(&[layout.document(INDEX, &manifest)]);
    });
    spoiled("layers twice", "not the JSON expected", |layout, manifest| {
        let text = manifest.to_string().replacen("\"layers\":", "\"layers\":[],\"layers\":", 1);
        layout.index(&[layout.blob(MANIFEST, text.as_bytes())]);
    });
    spoiled("artifact", "something else", |layout, mut manifest| {
        manifest["config"]["mediaType"] = json!("application/vnd.cncf.helm.config.v1+json");
        with_manifest(layout, &manifest);
    });
    for (media_type, bytes) in [
        ("application/vnd.oci.image.layer.v1.tar", gzip(&tar())),
        ("application/vnd.oci.image.layer.v1.tar+gzip", tar()),
        ("application/vnd.oci.image.layer.v1.tar+gzip", zstd(&tar())),
        ("application/vnd.oci.image.layer.v1.tar+zstd", gzip(&tar())),
        ("application/vnd.oci.image.layer.v1.squashfs", tar()),
    ] {
        spoiled(media_type, "does not fit its content", |layout, mut manifest| {
            manifest["layers"][0] = layout.blob(media_type, &bytes);
            with_manifest(layout, &manifest);
        });
    }
}

#[test]
fn documents_that_are_too_much() {
    spoiled("nested indexes", "nested too deep", |layout, manifest| {
        let mut descriptor = layout.document(MANIFEST, &manifest);
        for _ in 0..3 {
            descriptor = layout.document(INDEX, &json!({"schemaVersion": 2, "manifests": [descriptor]}));
        }
        layout.index(&[descriptor]);
    });
    spoiled("deep JSON", "not the JSON expected", |layout, _| {
        fs::write(layout.path.join("index.json"), format!("{{\"manifests\":{}", "[".repeat(100_000))).unwrap();
    });
    spoiled("large index", "exceed the limit", |layout, _| {
        fs::write(layout.path.join("index.json"), vec![b' '; (4 << 20) + 1]).unwrap();
    });
    spoiled("large config", "exceed the limit", |layout, mut manifest| {
        manifest["config"] = layout.blob(CONFIG, &vec![b' '; (8 << 20) + 1]);
        with_manifest(layout, &manifest);
    });
    spoiled("128 layers", "layers exceed the limit", |layout, _| {
        let layers: Vec<_> = (0..128).map(|at| Tar::new().file(format!("f{at}"), "").end()).collect();
        with_manifest(layout, &layout.manifest(&layers));
    });
    spoiled("no layers", "no layers", |layout, _| with_manifest(layout, &layout.manifest(&[])));
    spoiled("more layers than the config has", "names 1 layers", |layout, mut manifest| {
        let layer = manifest["layers"][0].clone();
        manifest["layers"] = json!([layer, layer]);
        with_manifest(layout, &manifest);
    });
    spoiled("100,000 platforms", "holds no image", |layout, _| {
        let other = json!({"mediaType": "x/y", "digest": Digest::of(b"x").to_string(), "size": 1});
        layout.index(&vec![other; 30_000]);
    });
    spoiled("not JSON", "not the JSON expected", |layout, _| {
        fs::write(layout.path.join("index.json"), b"\xff\xfe").unwrap();
    });
}

#[test]
fn nested_indexes_and_platforms_are_followed() {
    let fixture = Fixture::new();
    let layout = Layout::new(&fixture.path("layout"));
    let mut ours = layout.document(MANIFEST, &layout.manifest(&[tar()]));
    let digest = ours["digest"].clone();
    ours["platform"] = json!({"os": "linux", "architecture": architecture()});
    let mut other = layout.document(MANIFEST, &layout.manifest(&[Tar::new().file("other", "").end()]));
    other["platform"] = json!({"os": "linux", "architecture": "s390x"});
    let mut attestation = other.clone();
    attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    let inner = layout.document(INDEX, &json!({"schemaVersion": 2, "manifests": [other, ours, attestation]}));
    layout.index(&[inner]);
    assert_eq!(fixture.import_path(&layout.path).unwrap().digest, digest.as_str().unwrap());

    layout.index(&[other.clone()]);
    let error = fixture.import_path(&layout.path).unwrap_err().to_string();
    assert!(error.contains("linux/s390x"), "{error}");
}

#[test]
fn a_config_for_another_platform_is_refused() {
    for (key, value) in [("architecture", "s390x"), ("os", "windows")] {
        spoiled(key, "this host is linux/", |layout, mut manifest| {
            let mut config = Layout::config(&[Digest::of(&tar()).to_string()]);
            config[key] = json!(value);
            manifest["config"] = layout.document(CONFIG, &config);
            with_manifest(layout, &manifest);
        });
    }
}

#[test]
fn config_values_are_strings_and_nothing_more() {
    let fixture = Fixture::new();
    let layout = Layout::new(&fixture.path("layout"));
    let import = |config: Value| {
        let mut manifest = layout.manifest(&[tar()]);
        let mut document = Layout::config(&[Digest::of(&tar()).to_string()]);
        document["config"] = config;
        manifest["config"] = layout.document(CONFIG, &document);
        with_manifest(&layout, &manifest);
        fixture.import_path(&layout.path)
    };
    for user in ["-1", "4294967295", "4294967296", "2147483648", "0x0", " 0", "root:", ":0", "1:9999999999"] {
        let image = import(json!({"User": user, "WorkingDir": "/proc/self/fd/7", "Volumes": {"/../../etc": {}},
            "Env": ["LD_PRELOAD=/x", "=x", "novalue"], "Entrypoint": [], "Labels": {"io.x": "binary:///bin/sh"}}));
        let image = image.unwrap();
        assert_eq!(image.config.user, user);
        assert_eq!(image.config.env, [("LD_PRELOAD".to_owned(), "/x".to_owned())]);
        assert_eq!(image.config.working_dir, "/proc/self/fd/7");
    }
    assert!(import(json!({"Entrypoint": ["a\0b"]})).is_err());
    assert!(import(json!({"User": "x".repeat(1 << 21)})).is_err());
    assert!(import(json!({"Cmd": vec!["x".repeat(20); 100_000]})).is_err());
    assert!(import(json!({"Env": "not a list"})).is_err());
    assert!(import(Value::Null).unwrap().config.env.is_empty());
    fixture.assert_canary();
}

#[test]
fn parts_of_a_layout_are_files_of_that_layout() {
    let fixture = Fixture::new();
    let layout = Layout::image(&fixture.path("layout"), &[tar()]);
    let index = layout.path.join("index.json");
    fs::rename(&index, layout.path.join("real.json")).unwrap();
    std::os::unix::fs::symlink("real.json", &index).unwrap();
    let error = fixture.import_path(&layout.path).unwrap_err().to_string();
    assert!(error.contains("OCI layout"), "{error}");
    fs::remove_file(&index).unwrap();
    image_support::run("mkfifo", &[index.to_str().unwrap()]);
    assert!(fixture.import_path(&layout.path).is_err());
    fixture.assert_empty();
}

#[test]
fn docker_archives_that_lie() {
    let fixture = Fixture::new();
    let config = |diff_ids: &[String]| Layout::config(diff_ids).to_string();
    let good = config(&[Digest::of(&tar()).to_string()]);
    let archive = |config_name: &str, config: &str, layers: &[&str]| {
        let manifest = json!([{"Config": config_name, "RepoTags": ["library/alpine:latest"], "Layers": layers}]);
        let id = "0".repeat(64);
        Tar::new()
            .file(format!("{id}.json"), config)
            .file("layer.tar", tar())
            .symlink("again/layer.tar", "../layer.tar")
            .symlink("up/layer.tar", "../../../../etc/passwd")
            .symlink("out/layer.tar", "/etc/passwd")
            .file("manifest.json", manifest.to_string())
            .file("other.json", config)
            .end()
    };
    assert_eq!(fixture.import(&archive("other.json", &good, &["layer.tar"])).unwrap().name, "test:latest");
    assert!(fixture.import(&archive("other.json", &good, &["again/layer.tar"])).is_ok());
    fixture.store.remove("test").unwrap();
    let zeros = format!("{}.json", "0".repeat(64));
    let foreign = config(&[Digest::of(b"x").to_string()]);
    for (name, bytes) in [
        ("config named by another digest", archive(&zeros, &good, &["layer.tar"])),
        ("layer of another digest", archive("other.json", &foreign, &["layer.tar"])),
        ("layer up", archive("other.json", &good, &["../layer.tar/../../etc/passwd"])),
        ("link up", archive("other.json", &good, &["up/layer.tar"])),
        ("link to the host", archive("other.json", &good, &["out/layer.tar"])),
        ("config of the host", archive("/etc/passwd", &good, &["layer.tar"])),
        ("missing layer", archive("other.json", &good, &["x"])),
        ("too few layers", archive("other.json", &good, &[])),
        ("config that is a layer", archive("layer.tar", &good, &["layer.tar"])),
    ] {
        let error = fixture.refuse(&bytes);
        assert!(!error.contains("root:x:0"), "{name}: {error}");
    }
}

#[test]
fn an_archive_with_a_part_twice_is_refused() {
    let fixture = Fixture::new();
    let layout = Layout::image(&fixture.path("layout"), &[tar()]);
    let mut twice = layout.archive();
    twice.truncate(twice.len() - 1024);
    let twice = Tar(twice).file("index.json", "{}").end();
    let source = Source::Reader(Box::new(Cursor::new(twice)));
    let error = fixture.store.import(source, Some("x"), &NoProgress).unwrap_err().to_string();
    assert!(error.contains("twice"), "{error}");
    fixture.assert_empty();
}
