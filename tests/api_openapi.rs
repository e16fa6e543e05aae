//! The served description and the router say the same.

mod api_support;

use std::collections::{BTreeMap, BTreeSet};

use api_support::{Server, schema};
use axum::body::Body;
use serde_json::Value;

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// A path that falls under a pattern of the description.
fn example(pattern: &str) -> String {
    pattern.replace("{id}", "0b5e5d5e-6f70-4a39-9d3e-2f0f3c9f6f11").replace("{port}", "80").replace(['{', '}'], "")
}

/// Where a path is served.
fn places(pattern: &str, item: &Value) -> Vec<String> {
    let path = example(pattern);
    match item["servers"][0]["url"].as_str() {
        Some("/") => vec![path],
        Some(prefix) => vec![format!("{prefix}{path}")],
        None => vec![path.clone(), format!("/v1{path}")],
    }
}

/// The router tells the methods of a path to whoever uses a wrong one.
#[tokio::test]
async fn the_methods_of_every_described_path_are_those_of_the_router() {
    let server = Server::start().await;
    let document = schema::document();
    let paths = document["paths"].as_object().expect("paths").iter();
    // What is carried on to a port takes every method.
    let carried = |pattern: &str| pattern.contains("/proxy/{port}") || pattern.contains("/signed/");
    for (pattern, item) in paths.filter(|(pattern, _)| !carried(pattern)) {
        let described: BTreeSet<String> =
            METHODS.iter().filter(|method| item.get(**method).is_some()).map(|method| method.to_uppercase()).collect();
        for path in places(pattern, item) {
            let reply = server.raw("OPTIONS", &path, &[], Body::empty()).await;
            assert_eq!(reply.status, 405, "{path}");
            let allowed = reply.header("allow").expect("an Allow header").split(',').filter(|method| *method != "HEAD");
            assert_eq!(allowed.map(str::to_owned).collect::<BTreeSet<_>>(), described, "{path}");
        }
    }
}

fn routes_in(source: &str, prefix: &str) -> BTreeSet<String> {
    let path = |rest: &str| rest.split('"').nth(1).expect("a path").replace("{*", "{");
    source.split(".route(").skip(1).map(|rest| format!("{prefix}{}", path(rest))).collect()
}

#[test]
fn every_route_of_the_router_is_described() {
    let mut routes = routes_in(include_str!("../src/api/router.rs"), "");
    routes.extend(routes_in(include_str!("../src/api/execd/mod.rs"), "/sandboxes/{id}/proxy/44772"));
    routes.extend(routes_in(include_str!("../src/api/egress/mod.rs"), "/sandboxes/{id}/proxy/18080"));
    for place in ["", "/v1/filesystem/{uid}/{gid}"] {
        let place = format!("/sandboxes/{{id}}/proxy/44772{place}");
        routes.extend(routes_in(include_str!("../src/api/execd/files/mod.rs"), &place));
    }
    assert!(routes.len() > 30, "the router was read: {routes:?}");
    let document = schema::document();
    let described: BTreeSet<String> = document["paths"].as_object().expect("paths").keys().cloned().collect();
    assert_eq!(routes, described);
}

#[test]
fn every_reference_leads_somewhere_and_every_part_is_used() {
    let document = schema::document();
    let mut used = BTreeMap::new();
    references(&document, &mut used);
    for reference in used.keys() {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
    for kind in ["schemas", "responses", "headers", "parameters"] {
        for name in document["components"][kind].as_object().expect("components").keys() {
            assert!(used.contains_key(&format!("#/components/{kind}/{name}")), "{name} is not used");
        }
    }
}

fn references(value: &Value, found: &mut BTreeMap<String, usize>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Object(fields) => {
            if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                *found.entry(reference.to_owned()).or_default() += 1;
            }
            fields.values().for_each(|field| references(field, found));
        }
        _ => {}
    }
}

#[test]
fn operations_have_names_of_their_own() {
    let document = schema::document();
    let mut names = BTreeSet::new();
    for (pattern, item) in document["paths"].as_object().expect("paths") {
        for operation in METHODS.iter().filter_map(|method| item.get(*method)) {
            let name = operation["operationId"].as_str().expect("an operationId");
            assert!(names.insert(name.to_owned()), "{name} of {pattern} is used twice");
            assert!(operation["summary"].is_string() && operation["tags"][0].is_string(), "{name}");
        }
    }
}

#[test]
fn the_example_of_a_create_fits_its_schema() {
    let document = schema::document();
    let create = &document["components"]["schemas"]["CreateSandbox"];
    assert_eq!(schema::problem(&document, create, &create["examples"][0], ""), None);
}

#[tokio::test]
async fn it_is_served() {
    let server = Server::start().await;
    let reply = server.get("/openapi.json").await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    assert_eq!(reply.json(), schema::document());
}
