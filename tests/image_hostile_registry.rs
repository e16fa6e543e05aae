//! Registries that do what an honest one never does: nothing is kept, nothing is told to others, and it ends.

mod image_support;
mod registry_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use image_support::tar::Tar;
use registry_support::Fixture;
use registry_support::fake::{Asked, INDEX, MANIFEST, Reply, Served, Server};
use registry_support::wait::until;
use serde_json::json;

fn served() -> Served {
    Served::new(Tar::new().file("f", vec![7; 200_000]).end())
}

/// An honest registry, but for what `lie` answers.
async fn registry(lie: impl Fn(&Asked, &Served) -> Option<Reply> + Send + Sync + 'static) -> Server {
    let served = served();
    Server::start(move |asked| lie(asked, &served).unwrap_or_else(|| served.answer(asked))).await
}

async fn refused(lie: impl Fn(&Asked, &Served) -> Option<Reply> + Send + Sync + 'static) -> String {
    let (server, fixture) = (registry(lie).await, Fixture::new());
    fixture.refuse(&format!("{}/x:1", server.host())).await
}

fn blob(lie: impl Fn(&Served) -> Reply + Send + Sync + 'static) -> impl Fn(&Asked, &Served) -> Option<Reply> {
    move |asked, served| served.is_layer(asked).then(|| lie(served))
}

fn manifest(lie: impl Fn(&Served) -> Reply + Send + Sync + 'static) -> impl Fn(&Asked, &Served) -> Option<Reply> {
    move |asked, served| asked.path.contains("/manifests/").then(|| lie(served))
}

fn document(text: impl ToString) -> Reply {
    Reply::new(200, text.to_string()).header("content-type", MANIFEST)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_honest_one_is_believed() {
    let (server, fixture) = (registry(|_, _| None).await, Fixture::new());
    fixture.pull(&format!("{}/x:1", server.host())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_that_are_not_what_the_manifest_says_are_refused() {
    let flipped = |served: &Served| {
        let mut layer = served.layer.clone();
        layer[5000] ^= 1;
        Reply::new(200, layer)
    };
    let text = refused(blob(flipped)).await;
    assert!(text.contains("its manifest says sha256:"), "{text}");
    let text = refused(blob(|served| Reply::new(200, [&served.layer[..], b"more"].concat()))).await;
    assert!(text.contains("more than the"), "{text}");
    let text = refused(blob(|served| Reply::new(200, &served.layer[..100_000]))).await;
    assert!(text.contains("ended too early"), "{text}");
    let text = refused(blob(|_| Reply::new(200, ""))).await;
    assert!(text.contains("ended too early"), "{text}");
    let text = refused(blob(|served| Reply::new(200, served.layer.clone()).endless())).await;
    assert!(text.contains("more than the"), "{text}");
    let text = refused(blob(|_| Reply::new(200, "x").dripping(200_000))).await;
    assert!(text.contains("too slowly"), "{text}");
    let text = refused(blob(|_| Reply::new(404, ""))).await;
    assert!(text.contains("404"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_breaks_off_is_resumed_where_it_broke() {
    for knows_ranges in [true, false] {
        let server = registry(move |asked, served| {
            if !served.is_layer(asked) {
                return None;
            }
            let from = asked.header("range").and_then(|range| range[6..].trim_end_matches('-').parse::<usize>().ok());
            let (layer, size) = (&served.layer, served.layer.len());
            Some(match from {
                None => Reply::new(200, &layer[..70_000]).length(size as u64),
                Some(_) if !knows_ranges => Reply::new(200, layer.clone()),
                Some(from) => Reply::new(206, &layer[from..])
                    .header("content-range", &format!("bytes {from}-{}/{size}", size - 1)),
            })
        });
        let (server, fixture) = (server.await, Fixture::new());
        fixture.pull(&format!("{}/x:1", server.host())).await.unwrap();
        let resumed = server.asked().iter().filter(|asked| asked.header("range").is_some()).count();
        assert_eq!(resumed, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_that_was_not_asked_for_is_refused() {
    for range in ["bytes 0-9/10", "bytes 5-200000/1", "nonsense", "bytes */10"] {
        let text = refused(move |asked, served| {
            served.is_layer(asked).then(|| match asked.header("range") {
                None => Reply::new(200, &served.layer[..1000]).length(served.layer.len() as u64),
                Some(_) => Reply::new(206, &served.layer[1000..]).header("content-range", range),
            })
        });
        let text = text.await;
        assert!(text.contains("it sent the range"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_could_be_two_things_are_refused() {
    let with = |key: &'static str, value: serde_json::Value| {
        manifest(move |served| {
            let mut manifest = served.manifest.clone();
            manifest[key] = value.clone();
            document(manifest)
        })
    };
    for (key, value) in [
        ("manifests", json!([])),
        ("mediaType", json!(INDEX)),
        ("mediaType", json!("text/html")),
        ("fsLayers", json!([{}])),
        ("schemaVersion", json!(1)),
        ("config", json!({"mediaType": "application/x", "digest": format!("sha256:{}", "0".repeat(64)), "size": 1})),
        ("layers", json!([])),
        (
            "layers",
            json!([{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": "sha256:../../x", "size": 1}]),
        ),
        (
            "layers",
            json!([{"mediaType": "application/x-xz", "digest": format!("sha256:{}", "0".repeat(64)), "size": 1}]),
        ),
        (
            "layers",
            json!(vec![
                json!({"mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": format!("sha256:{}", "0".repeat(64)), "size": 1});
                128
            ]),
        ),
    ] {
        refused(with(key, value)).await;
    }
    refused(manifest(|served| Reply::new(200, served.manifest.to_string()).header("content-type", INDEX))).await;
    for text in ["", "{", "[]", "null", "{}", r#"{"schemaVersion":2,"schemaVersion":1}"#, &"[".repeat(100_000)] {
        let text = text.to_owned();
        refused(manifest(move |_| document(text.clone()))).await;
    }
    // Ten thousand platforms, none of them this one.
    let strange = json!({"mediaType": MANIFEST, "digest": format!("sha256:{}", "0".repeat(64)), "size": 1,
        "platform": {"os": "linux", "architecture": "m68k"}});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": vec![strange; 10_000]}).to_string();
    let text = refused(manifest(move |_| Reply::new(200, index.clone()).header("content-type", INDEX))).await;
    assert!(text.contains("linux/m68k"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_bounded() {
    let text = refused(manifest(|_| document(" ".repeat(5 << 20)))).await;
    assert!(text.contains("exceed the limit"), "{text}");
    let text = refused(manifest(|_| document(" ".repeat(1 << 20)).endless())).await;
    assert!(text.contains("exceed the limit"), "{text}");
    let text = refused(manifest(|_| document("{").dripping(1000))).await;
    assert!(text.contains("too slowly"), "{text}");
    let text = refused(|asked, served| {
        let is_config = asked.path.contains("/blobs/") && !served.is_layer(asked);
        is_config.then(|| Reply::new(200, "another"))
    });
    let text = text.await;
    assert!(text.contains("another digest"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_that_point_at_each_other_end() {
    let asked_for = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked_for);
    // A digest cannot hold itself, so a loop can only be a chain without an end.
    let text = refused(move |asked, _| {
        let depth = counter.fetch_add(usize::from(asked.path.contains("/manifests/")), Ordering::Relaxed);
        let chain = |depth: usize| {
            let mut text = json!({"schemaVersion": 2, "manifests": []}).to_string();
            for _ in depth..10 {
                let digest = bivouac::image::Digest::of(text.as_bytes()).to_string();
                text = json!({"schemaVersion": 2, "mediaType": INDEX,
                    "manifests": [{"mediaType": INDEX, "digest": digest, "size": text.len()}]})
                .to_string();
            }
            text
        };
        asked.path.contains("/manifests/").then(|| Reply::new(200, chain(depth)).header("content-type", INDEX))
    });
    let text = text.await;
    assert!(text.contains("nested too deep"), "{text}");
    assert!(asked_for.load(Ordering::Relaxed) <= 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn storms_are_weathered_within_bounds() {
    for status in [429, 500, 502, 503] {
        let left = Arc::new(AtomicUsize::new(2));
        let server = registry(move |asked, _| {
            let is_storm = asked.path.contains("/v2/x/")
                && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
            is_storm.then(|| Reply::new(status, "").header("retry-after", "0"))
        });
        let (server, fixture) = (server.await, Fixture::new());
        fixture.pull(&format!("{}/x:1", server.host())).await.unwrap_or_else(|error| panic!("{status}: {error}"));

        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let text = refused(manifest(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
            Reply::new(status, "")
        }));
        let text = text.await;
        assert!(text.contains(&status.to_string()), "{text}");
        assert_eq!(asked.load(Ordering::Relaxed), 3);
    }
    // One that wants to be left alone for an hour is not waited for.
    let text = refused(manifest(|_| Reply::new(429, "").header("retry-after", "3600"))).await;
    assert!(text.contains("429") && text.contains("mirror"), "{text}");
}

/// What a registry may do to have `user:secret` sent to the canary.
async fn lured(lie: impl Fn(&Asked, &str) -> Reply + Send + Sync + 'static, private: &[&str]) -> String {
    let canary = Server::canary().await;
    let place = format!("127.0.0.1:{}", canary.port);
    let target = place.clone();
    let server = Server::start(move |asked| lie(asked, &target)).await;
    let private = private.iter().map(|host| (*host).to_owned()).collect();
    let fixture = Fixture::with(|config| config.private = private);
    let pulled = fixture.pull_as(&format!("{}/x:1", server.host()), Some(("user", "secret"))).await;
    let error = bivouac::model::with_causes(&*pulled.expect_err("it must fail"));
    assert!(!canary.was_told_who_asks(), "{:?}", canary.asked());
    assert!(!error.contains("secret") && !error.contains("dXNlcjpzZWNyZXQ"), "{error}");
    fixture.assert_empty();
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_go_to_their_registry_alone() {
    let realm = |challenge: &'static str| {
        move |_: &Asked, canary: &str| {
            Reply::new(401, "").header("www-authenticate", &challenge.replace("CANARY", canary))
        }
    };
    for challenge in [
        r#"Bearer realm="http://CANARY/token",service="x""#,
        r#"Bearer realm="https://CANARY/token",service="x""#,
        r#"Bearer realm="http://user:pw@CANARY/token""#,
        r#"Bearer realm="http://CANARY/token#fragment""#,
        r#"Bearer realm="http://CANARY/token&scope=repository:secret:pull""#,
        r#"Bearer realm="http://169.254.169.254/latest/meta-data""#,
        r#"Bearer realm="file:///etc/passwd""#,
        r#"Bearer realm="http://CANARY/a",realm="http://CANARY/b""#,
        r#"Bearer realm="http://[::ffff:169.254.169.254]/""#,
    ] {
        // Also where the operator lets pulls go there: that is no leave to tell it who asks.
        lured(realm(challenge), &[]).await;
        lured(realm(challenge), &["127.0.0.1"]).await;
    }
}

/// Asks for basic authentication, then answers as said.
fn after_login(asked: &Asked, answer: Reply) -> Reply {
    match asked.header("authorization") {
        None => Reply::new(401, "").header("www-authenticate", "Basic realm=x"),
        Some(_) => answer,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_carry_no_credentials_and_end() {
    for (location, private) in
        [("http://CANARY/blob", &["127.0.0.1"][..]), ("//CANARY/blob", &["127.0.0.1"]), ("http://CANARY/blob", &[])]
    {
        lured(
            move |asked, canary| {
                after_login(asked, Reply::new(307, "").header("location", &location.replace("CANARY", canary)))
            },
            private,
        )
        .await;
    }
    let text =
        lured(|asked, _| after_login(asked, Reply::new(302, "").header("location", "http://169.254.169.254/x")), &[]);
    let text = text.await;
    assert!(text.contains("not the Internet's"), "{text}");
    let text = lured(|asked, _| after_login(asked, Reply::new(302, "").header("location", "/v2/round")), &[]).await;
    assert!(text.contains("401") || text.contains("redirects more than"), "{text}");
    let text = refused(|_, _| Some(Reply::new(302, "").header("location", "/v2/round"))).await;
    assert!(text.contains("redirects more than 5 times"), "{text}");
    let text = refused(|_, _| Some(Reply::new(302, ""))).await;
    assert!(text.contains("redirects to nowhere"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_that_asks_who_is_there_is_not_told() {
    let thief = Server::start(|_| Reply::new(401, "").header("www-authenticate", "Basic realm=x")).await;
    let location = format!("http://127.0.0.1:{}/blob", thief.port);
    let server =
        Server::start(move |asked| after_login(asked, Reply::new(307, "").header("location", &location))).await;
    let fixture = Fixture::with(|config| config.private = vec!["127.0.0.1".to_owned()]);
    assert!(fixture.pull_as(&format!("{}/x:1", server.host()), Some(("user", "secret"))).await.is_err());
    assert_eq!(thief.asked().len(), 1);
    assert!(!thief.was_told_who_asks());
}

#[tokio::test(flavor = "multi_thread")]
async fn this_hosts_networks_are_not_reached_by_name() {
    let fixture = Fixture::new();
    for name in ["169.254.169.254/x/y:1", "10.0.0.1:5000/x:1", "192.168.0.1/x:1", "100.100.100.200/x:1"] {
        let text = fixture.refuse(name).await;
        assert!(text.contains("`private` of [registries]"), "{name}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_asked_for_once_and_used_for_everything() {
    let served = served();
    let server = Server::start(move |asked| {
        if asked.path.starts_with("/token") {
            assert!(
                asked.path.contains("scope=repository:x:pull") && asked.path.contains("service=s"),
                "{}",
                asked.path
            );
            return Reply::new(200, r#"{"token":"t0k3n"}"#);
        }
        match asked.header("authorization") {
            Some("Bearer t0k3n") => served.answer(asked),
            _ => {
                let host = asked.header("host").expect("a host");
                let challenge = format!(r#"Bearer realm="http://{host}/token",service="s""#);
                Reply::new(401, "").header("www-authenticate", &challenge)
            }
        }
    });
    let (server, fixture) = (server.await, Fixture::new());
    fixture.pull(&format!("{}/x:1", server.host())).await.unwrap();
    assert_eq!(server.asked().iter().filter(|asked| asked.path.starts_with("/token")).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_callers_pull_once() {
    let (server, fixture) = (registry(|_, _| None).await, Fixture::new());
    let name = format!("{}/x:1", server.host());
    let request = bivouac::image::PullRequest { image: name, credentials: None };
    let pulls: Vec<_> = (0..100).map(|_| fixture.puller.pull(&request).unwrap()).collect();
    for pull in pulls {
        pull.finished().await.unwrap();
    }
    let layers = server.asked().iter().filter(|asked| asked.path.contains("/blobs/")).count();
    assert_eq!(layers, 2, "a config and a layer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_nobody_waits_for_stops() {
    let server = drips().await;
    let fixture = Fixture::with(|config| config.patience.trickle = 1);
    let request = bivouac::image::PullRequest { image: format!("{}/x:1", server.host()), credentials: None };
    let (first, second) = (fixture.puller.pull(&request).unwrap(), fixture.puller.pull(&request).unwrap());
    let begun = || match server.asked().iter().filter(|asked| asked.path.contains("/blobs/")).count() {
        2 => Ok(()),
        count => Err(format!("{count} blobs were asked for")),
    };
    tokio::task::block_in_place(|| until("the layer is asked for", begun));
    drop(first);
    assert!(!second.state().is_over());
    drop(second);
    nothing_half_made(&fixture);
    fixture.assert_empty();
}

/// A registry whose layer never comes to an end.
async fn drips() -> Server {
    let served = served();
    Server::start(move |asked| match served.is_layer(asked) {
        true => Reply::new(200, &served.layer[..5000]).dripping(served.layer.len() as u64),
        false => served.answer(asked),
    })
    .await
}

fn nothing_half_made(fixture: &Fixture) {
    let tmp = fixture.dir.path().join("images/tmp");
    let over = || match std::fs::read_dir(&tmp).unwrap().count() {
        0 => Ok(()),
        count => Err(format!("{count} things are half made")),
    };
    tokio::task::block_in_place(|| until("the pulls have stopped", over));
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_registries_do_not_hold_up_the_others() {
    let slow = [drips().await, drips().await, drips().await];
    let fixture = Fixture::with(|config| config.patience.trickle = 1);
    let mut pulls = Vec::new();
    for server in &slow {
        for at in 0..40 {
            let image = format!("{}/x{at}:1", server.host());
            pulls.push(fixture.puller.pull(&bivouac::image::PullRequest { image, credentials: None }).unwrap());
        }
        let begun = || match server.asked().iter().any(|asked| asked.path.contains("/blobs/")) {
            true => Ok(()),
            false => Err("no blob was asked for".to_owned()),
        };
        tokio::task::block_in_place(|| until("its share of turns is taken", begun));
    }
    let quick = registry(|_, _| None).await;
    let image = format!("{}/x:1", quick.host());
    let pulled = tokio::time::timeout(std::time::Duration::from_secs(20), fixture.pull(&image));
    pulled.await.expect("it waits for none of them").unwrap();
    assert!(pulls.iter().all(|pull| !pull.state().is_over()));
    drop(pulls);
    nothing_half_made(&fixture);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_little_with_each_attempt_is_not_enough() {
    let server = registry(|asked, served| {
        let from = asked.header("range").and_then(|range| range[6..].trim_end_matches('-').parse::<usize>().ok());
        let (from, size) = (from.unwrap_or(0), served.layer.len());
        let part = Reply::new(if from == 0 { 200 } else { 206 }, &served.layer[from..from + 500]);
        let range = format!("bytes {from}-{}/{size}", size - 1);
        served.is_layer(asked).then(|| part.header("content-range", &range).length((size - from) as u64))
    });
    let (server, fixture) = (server.await, Fixture::new());
    let text = fixture.refuse(&format!("{}/x:1", server.host())).await;
    assert!(text.contains("broke off 3 times in a row"), "{text}");
    assert_eq!(server.asked().iter().filter(|asked| asked.path.contains("/blobs/")).count(), 4);
}
