//! Images from a real registry.

mod image_support;
mod registry_support;

use std::path::Path;

use bivouac::image::{ImageError, Policy, PullState, Verdict};
use image_support::layout::Layout;
use image_support::tar::Tar;
use registry_support::Fixture;
use registry_support::real::Registry;

fn layer(name: &str, content: &str) -> Vec<u8> {
    Tar::new().dir("d/").file(format!("d/{name}"), content.as_bytes()).end()
}

fn layout(dir: &Path, names: &[&str]) -> Layout {
    Layout::image(dir, &names.iter().map(|name| layer(name, name)).collect::<Vec<_>>())
}

#[tokio::test(flavor = "multi_thread")]
async fn images_of_every_compression_and_media_type_are_pulled() {
    let registry = Registry::plain();
    let fixture = Fixture::new();
    let layout = layout(&fixture.dir.path().join("layout"), &["a", "b"]);
    for (name, options) in [
        ("gzip:1", &["--dest-compress-format", "gzip"][..]),
        ("zstd:1", &["--dest-compress-format", "zstd"]),
        ("v2s2:1", &["--format", "v2s2"]),
    ] {
        registry.push(&layout.path, name, options);
        let image = fixture.pull(&registry.name(name)).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(image.name, registry.name(name));
        assert_eq!(fixture.file(&image, 1, "d/b"), "b");
        assert_eq!(image.config.cmd, ["/x"]);
        // By digest it is the same image, and it is found by that name again.
        let pinned = format!("{}@{}", registry.name(name).rsplit_once(':').unwrap().0, image.digest);
        let again = fixture.pull(&pinned).await.unwrap();
        assert_eq!((again.name.as_str(), &again.digest), (pinned.as_str(), &image.digest));
        assert_eq!(fixture.store.find(&pinned).unwrap().digest, image.digest);
    }
    let error = fixture.pull(&registry.name("none:1")).await.unwrap_err().to_string();
    assert!(error.contains("404") && error.contains("check the name"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_wants_an_authority_that_is_known() {
    let registry = Registry::with_tls();
    let fixture = Fixture::with(|config| config.ca_files = vec![registry.dir.path().join("ca.pem")]);
    let layout = layout(&fixture.dir.path().join("layout"), &["a"]);
    registry.push(&layout.path, "x:1", &[]);
    let image = fixture.pull(&registry.name("x:1")).await.unwrap();
    assert_eq!(fixture.file(&image, 0, "d/a"), "a");
    assert!(Fixture::new().pull(&registry.name("x:1")).await.is_err(), "without the authority");
    // The name must be the certificate's too.
    let elsewhere = format!("127.0.0.2:{}/x:1", registry.port);
    assert!(fixture.pull(&elsewhere).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_asked_for_and_taken_from_request_or_file() {
    let registry = Registry::with_login("user", "secret");
    let ca = registry.dir.path().join("ca.pem");
    let fixture = Fixture::with(|config| config.ca_files = vec![ca.clone()]);
    let layout = layout(&fixture.dir.path().join("layout"), &["a"]);
    registry.push(&layout.path, "x:1", &[]);
    let name = registry.name("x:1");
    let error = fixture.pull(&name).await.unwrap_err().to_string();
    assert!(error.contains("401") && error.contains("docker login"), "{error}");
    let error = fixture.pull_as(&name, Some(("user", "wrong"))).await.unwrap_err().to_string();
    assert!(error.contains("401") && !error.contains("wrong"), "{error}");
    fixture.pull_as(&name, Some(("user", "secret"))).await.unwrap();

    let file = registry.dir.path().join("auth.json");
    let entry = serde_json::json!({"auths": {format!("localhost:{}", registry.port): {"auth": "dXNlcjpzZWNyZXQ="}}});
    std::fs::write(&file, entry.to_string()).unwrap();
    let by_file = Fixture::with(|config| (config.ca_files, config.auth_files) = (vec![ca], vec![file]));
    by_file.pull(&name).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_layers_are_fetched_once() {
    let registry = Registry::plain();
    let fixture = Fixture::new();
    let path = fixture.dir.path().to_owned();
    let shared = ["a", "b", "c", "d", "e", "f", "g"];
    registry.push(&layout(&path.join("one"), &[&shared[..], &["h"]].concat()).path, "one:1", &[]);
    registry.push(&layout(&path.join("two"), &[&shared[..], &["i"]].concat()).path, "two:1", &[]);
    fixture.pull(&registry.name("one:1")).await.unwrap();
    let request = bivouac::image::PullRequest { image: registry.name("two:1"), credentials: None };
    let mut pulling = fixture.puller.pull(&request).unwrap();
    let mut most = 0;
    loop {
        match pulling.changed().await {
            PullState::Fetching(fetched) => {
                assert_eq!(fetched.layers_total, 8);
                assert!(fetched.layers >= 7, "{fetched:?}");
                most = most.max(fetched.bytes_total);
            }
            PullState::Done(image) => break assert_eq!(image.layers.len(), 8),
            PullState::Failed(error) => panic!("{error}"),
            _ => {}
        }
    }
    assert!(most < 2048, "one small layer, not eight: {most}");
    assert_eq!(std::fs::read_dir(fixture.store.layers_dir()).unwrap().count(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_is_asked_first_and_a_default_registry_is_meant_by_short_names() {
    let registry = Registry::plain();
    let place = format!("localhost:{}", registry.port);
    let mirrored = Fixture::with(|config| config.mirrors = vec![("quay.io".to_owned(), place.clone())]);
    let layout = layout(&mirrored.dir.path().join("layout"), &["a"]);
    registry.push(&layout.path, "team/x:1", &[]);
    assert_eq!(mirrored.pull("quay.io/team/x:1").await.unwrap().name, "quay.io/team/x:1");

    let default = Fixture::with(|config| config.default_registry.clone_from(&place));
    assert_eq!(default.pull("team/x:1").await.unwrap().name, format!("{place}/team/x:1"));
    assert_eq!(default.store.find("team/x:1").unwrap().name, format!("{place}/team/x:1"));
}

#[test]
fn policies_are_the_words_of_docker() {
    for (word, policy) in [("missing", Policy::Missing), ("always", Policy::Always), ("never", Policy::Never)] {
        assert_eq!(word.parse(), Ok(policy));
    }
    assert!("sometimes".parse::<Policy>().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_damaged_image_only_the_damaged_layer_is_fetched_again() {
    let registry = Registry::plain();
    let fixture = Fixture::new();
    registry.push(&layout(&fixture.dir.path().join("layout"), &["a", "b", "c"]).path, "x:1", &[]);
    let name = registry.name("x:1");
    let image = fixture.pull(&name).await.unwrap();
    let dirs: Vec<_> = image.layers.iter().map(|layer| fixture.store.layers_dir().join(&layer.dir)).collect();
    let made = |at: usize| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&dirs[at]).unwrap());
    let before = [made(0), made(2)];
    std::fs::write(dirs[1].join("d/b"), "B").unwrap();
    fixture.store.verify(&mut |_| true).unwrap();
    match fixture.store.find(&name) {
        Err(ImageError::Damaged { pulled: true, .. }) => {}
        other => panic!("{other:?}"),
    }
    let again = fixture.pull(&name).await.unwrap();
    assert_eq!((fixture.file(&again, 1, "d/b"), [made(0), made(2)]), ("b".to_owned(), before));
    fixture.store.verify(&mut |verified| verified.verdict == Verdict::Sound).unwrap();
    assert!(fixture.store.find(&name).is_ok());
}
