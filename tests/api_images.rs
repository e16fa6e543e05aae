//! Images over the API: in, listed, read, out.

mod api_support;

use api_support::{Server, request};
use axum::body::Body;
use serde_json::json;

/// A root of one file, as a plain tar.
fn root() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for dir in ["bin/", "etc/"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o755);
        header.set_size(0);
        builder.append_data(&mut header, dir, std::io::empty()).expect("a directory");
    }
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_size(5);
    builder.append_data(&mut header, "bin/sh", &b"hello"[..]).expect("a file");
    builder.into_inner().expect("a tar")
}

async fn import(server: &Server, query: &str, body: Vec<u8>) -> api_support::Reply {
    server.raw("POST", &format!("/v1/images/import{query}"), &[], Body::from(body)).await
}

#[tokio::test]
async fn an_image_comes_in_and_goes() {
    let server = Server::start().await;
    assert_eq!(server.get("/v1/images").await.json(), json!({"items": []}));
    let reply = import(&server, "?name=tools/base%3A1", root()).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    let image = reply.json();
    assert_eq!(image["name"], "tools/base:1");
    assert_eq!(reply.header("location"), Some("/v1/images/tools/base:1"));
    assert_eq!(image["layers"].as_array().map(Vec::len), Some(1));
    assert_eq!(server.get("/v1/images").await.json(), json!({"items": [image]}));
    assert_eq!(server.get("/v1/images/tools/base:1").await.json(), image);
    let missing = server.get("/v1/images/tools/base:2").await;
    assert_eq!(missing.refusal(), (404, "IMAGE::NOT_FOUND".into()));
    assert!(missing.message().contains("tools/base:2"), "{}", missing.message());

    server.host.forget_image("nosuch");
    let refused = server.post("/v1/sandboxes", request(json!({"image": {"uri": "nosuch"}}))).await;
    assert!(refused.message().contains("Here are: tools/base:1"), "{}", refused.message());

    let used = server.state.images.find("tools/base:1").expect("an image");
    server.state.images.hold(&used, "some-sandbox");
    assert_eq!(server.send("DELETE", "/v1/images/tools/base:1", None).await.refusal(), (409, "IMAGE::IN_USE".into()));
    server.state.images.release("some-sandbox");
    assert_eq!(server.send("DELETE", "/v1/images/tools/base:1", None).await.status, 204);
    assert_eq!(server.send("DELETE", "/v1/images/tools/base:1", None).await.status, 404);
    assert_eq!(server.get("/v1/images").await.json(), json!({"items": []}));
}

#[tokio::test]
async fn what_is_shared_and_used_is_told_and_what_is_not_used_is_pruned() {
    let server = Server::start().await;
    for name in ["a:1", "b:1"] {
        assert_eq!(import(&server, &format!("?name={name}"), root()).await.status, 201);
    }
    let image = server.get("/v1/images/a:1").await.json();
    assert_eq!((&image["sharedSize"], &image["usedBy"]), (&image["size"], &json!([])));
    let used = server.state.images.find("a:1").expect("an image");
    server.state.images.hold(&used, "some-sandbox");
    assert_eq!(server.get("/v1/images/a:1").await.json()["usedBy"], json!(["some-sandbox"]));

    let pruned = server.send("POST", "/v1/images/prune", None).await;
    assert_eq!(pruned.json(), json!({"removed": []}), "nothing is a day old");
    let pruned = server.send("POST", "/v1/images/prune?unusedForSeconds=0", None).await;
    assert_eq!(pruned.json(), json!({"removed": ["b:1"]}));
    assert_eq!(server.get("/v1/images/a:1").await.json()["sharedSize"], 0);
    server.state.images.release("some-sandbox");
    let pruned = server.send("POST", "/v1/images/prune?unusedForSeconds=0", None).await;
    assert_eq!(pruned.json(), json!({"removed": ["a:1"]}));
    let refused = server.send("POST", "/v1/images/prune?unusedForSeconds=-1", None).await;
    assert_eq!(refused.status, 400);
}

#[tokio::test]
async fn an_image_goes_out_and_comes_back() {
    let server = Server::start().await;
    let image = import(&server, "?name=a:1", root()).await.json();
    let reply = server.get("/v1/images/export?name=a:1").await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/x-tar")));
    let back = import(&server, "?name=b:1", reply.body.clone()).await;
    assert_eq!(back.status, 201, "{}", back.text());
    assert_eq!(back.json()["config"], image["config"]);
    assert_eq!(server.get("/v1/images/export?name=nosuch").await.refusal(), (404, "IMAGE::NOT_FOUND".into()));
    assert_eq!(server.get("/v1/images/export").await.status, 400);
}

#[tokio::test]
async fn what_is_no_image_is_refused_and_leaves_nothing() {
    let server = Server::start().await;
    let cut = root()[..700].to_vec();
    for (what, query, body) in [
        ("nothing", "?name=a", Vec::new()),
        ("no tar", "?name=a", vec![b'x'; 100_000]),
        ("a cut tar", "?name=a", cut),
        ("a bad name", "?name=A%20B", root()),
        ("a broken gzip", "?name=a", [&[0x1f, 0x8b, 8, 0][..], &[7; 1000]].concat()),
    ] {
        let reply = import(&server, query, body).await;
        assert_eq!(reply.status, 400, "{what}: {}", reply.text());
        assert!(reply.refusal().1.starts_with("IMAGE::"), "{what}: {}", reply.text());
        assert_eq!(server.get("/v1/images").await.json(), json!({"items": []}), "{what}");
    }
}

#[tokio::test]
async fn an_image_without_a_name_is_named_by_its_digest() {
    let server = Server::start().await;
    let image = import(&server, "", root()).await.json();
    let digits = image["digest"].as_str().expect("a digest").trim_start_matches("sha256:").to_owned();
    assert!(image["name"].as_str().is_some_and(|name| name.contains(&digits[..12])), "{image}");
    assert_eq!(server.get(&format!("/v1/images/sha256:{digits}")).await.json(), image);
}

#[tokio::test]
async fn strange_names_name_no_image() {
    let server = Server::start().await;
    for name in ["..%2f..%2fetc", "%2e%2e/x", "a%00b", "sha256:00", "%F0%9F%98%80", "x?y=z"] {
        let reply = server.get(&format!("/v1/images/{name}")).await;
        assert_eq!(reply.status, 404, "{name}: {}", reply.text());
    }
    assert_eq!(server.get("/v1/images/%ff").await.status, 400);
}
