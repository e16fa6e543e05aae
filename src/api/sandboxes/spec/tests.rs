//! Requests for sandboxes, field by field.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::model::{Interaction, NetworkMode};

fn offer(mode: NetworkMode) -> &'static NetworkOffer {
    Box::leak(Box::new(NetworkOffer { mode, why: "so it is decided".to_owned(), allows_host: false }))
}

fn rules() -> Rules<'static> {
    let now = DateTime::from_timestamp(1_767_323_045, 0).expect("a time");
    Rules {
        min_timeout: 60,
        max_timeout: Some(86_400),
        max_limits: Limits::default(),
        network: offer(NetworkMode::Bridge),
        network_bounds: NetworkBounds { connections: Some(1000), bandwidth: None },
        arch: "amd64",
        now,
    }
}

/// A valid request with `changes` laid over it.
fn request(changes: Value) -> Value {
    let mut body = json!({"image": {"uri": "python:3.11"}, "entrypoint": ["tail"], "resourceLimits": {"cpu": "1"}});
    let fields = body.as_object_mut().expect("an object");
    for (name, value) in changes.as_object().expect("an object").clone() {
        fields.insert(name, value);
    }
    body
}

fn accepted(changes: Value) -> SandboxSpec {
    let body = request(changes);
    read(&body, &rules()).unwrap_or_else(|error| panic!("{body} was refused: {}", error.message()))
}

fn refused(body: &Value) -> ApiError {
    match read(body, &rules()) {
        Ok(spec) => panic!("{body} was accepted: {spec:?}"),
        Err(error) => error,
    }
}

/// A refusal of a request with `changes`: its code and a part of its message.
fn refuses(changes: Value, code: &str, message: &str) {
    let error = refused(&request(changes.clone()));
    assert_eq!(error.code(), code, "{changes}: {}", error.message());
    assert!(error.message().contains(message), "{changes}: {}", error.message());
    assert!(error.status().is_client_error(), "{changes}");
}

const PARAMETER: &str = "SANDBOX::INVALID_PARAMETER";

#[test]
fn a_full_request_becomes_a_spec() {
    let spec = accepted(json!({
        "timeout": 600,
        "entrypoint": ["python", "-c", "print('x')"],
        "resourceLimits": {"cpu": "500m", "memory": "512Mi", "pids": "100", "ephemeral-storage": "1Gi"},
        "resourceRequests": {"cpu": "100m"},
        "env": {"A": "1", "EMPTY": "", "SKIPPED": null, "OPENSANDBOX_EGRESS_LOG_LEVEL": "debug",
                "OPENSANDBOX_EGRESS_MITMPROXY_TRANSPARENT": "true"},
        "metadata": {"team": "a", "example.com/x": ""},
        "platform": {"os": "Linux", "arch": "AMD64"},
        "extensions": {"opensandbox.extensions.a": "1", "access.renew.extend.seconds": "300", "other": "x"},
        "secureAccess": false, "volumes": [], "credentialProxy": {"enabled": false}, "unknown": {"deep": [1]},
    }));
    assert_eq!(spec.image, "python:3.11");
    assert_eq!(spec.entrypoint, ["python", "-c", "print('x')"]);
    assert_eq!(spec.timeout, Some(Duration::from_secs(600)));
    assert_eq!(
        (spec.limits.cpu_millis, spec.limits.memory_bytes, spec.limits.pids),
        (Some(500), Some(512 << 20), Some(100))
    );
    assert_eq!(spec.env.keys().collect::<Vec<_>>(), ["A", "EMPTY", "OPENSANDBOX_EGRESS_MITMPROXY_TRANSPARENT"]);
    assert_eq!(spec.metadata.len(), 2);
    assert_eq!(spec.platform.map(|platform| (platform.os, platform.arch)), Some(("linux".into(), "amd64".into())));
    assert_eq!(spec.extensions.keys().collect::<Vec<_>>(), ["opensandbox.extensions.a"]);
}

#[test]
fn null_is_absent_for_every_optional() {
    let spec = accepted(json!({
        "snapshotId": null, "templateId": null, "platform": null, "timeout": null, "resourceRequests": null,
        "env": null, "metadata": null, "lifecycle": null, "networkPolicy": null, "credentialProxy": null,
        "secureAccess": null, "volumes": null, "extensions": null, "image": {"uri": "a", "auth": null},
    }));
    assert_eq!((spec.timeout, spec.platform, spec.metadata.len()), (None, None, 0));
}

#[test]
fn exactly_one_source() {
    let one = "Exactly one of image or snapshotId must be provided.";
    assert_eq!(refused(&json!({})).message(), one);
    assert_eq!(refused(&json!({"resourceLimits": {}, "entrypoint": ["a"]})).message(), one);
    assert_eq!(refused(&json!({"snapshotId": "  "})).message(), one);
    refuses(json!({"snapshotId": "x"}), PARAMETER, one);
    refuses(json!({"image": {"uri": "  "}}), PARAMETER, "image.uri must not be blank");
    refuses(json!({"image": {}}), PARAMETER, "image.uri is required");
    refuses(json!({"image": "python"}), PARAMETER, "image must be an object");
    refuses(json!({"image": {"uri": "a\nb"}}), PARAMETER, "control characters");
    refuses(json!({"image": {"uri": "a".repeat(2000)}}), PARAMETER, "at most 1024 bytes");
    refuses(json!({"image": {"uri": "a", "auth": {"username": "u"}}}), PARAMETER, "image.auth.password is required");
    let snapshot = refused(&json!({"snapshotId": "zzz", "resourceLimits": {}}));
    assert_eq!((snapshot.status().as_u16(), snapshot.code()), (404, "SNAPSHOT::NOT_FOUND"));
    assert_eq!(snapshot.message(), "Snapshot zzz not found");
}

#[test]
fn templates_are_checked_and_refused() {
    refuses(
        json!({"templateId": "t"}),
        PARAMETER,
        "templateId cannot be combined with: entrypoint, image, resourceLimits",
    );
    assert_eq!(refused(&json!({"templateId": "t", "timeout": 60})).code(), "DOCKER::INVALID_ENTRYPOINT");
    assert_eq!(
        refused(&json!({"templateId": "t", "timeout": 60, "secureAccess": false})).code(),
        "DOCKER::INVALID_ENTRYPOINT"
    );
    assert!(refused(&json!({"templateId": "t"})).message().contains("timeout is required"));
    assert!(refused(&json!({"templateId": ""})).message().contains("must not be empty"));
}

#[test]
fn timeouts() {
    for bad in [json!(59), json!(0), json!(-1), json!(30)] {
        refuses(json!({"timeout": bad}), PARAMETER, "timeout must be at least 60 seconds");
    }
    for bad in [json!(600.0), json!("600"), json!(true), json!([]), json!(1e300), json!(u64::MAX)] {
        refuses(json!({"timeout": bad}), PARAMETER, "timeout must be a whole number");
    }
    refuses(json!({"timeout": 100_000}), PARAMETER, "Sandbox timeout 100000s exceeds configured maximum of 86400s.");
    let unbounded = Rules { max_timeout: None, ..rules() };
    for absurd in [i64::MAX, 10_000_000_000] {
        let error = read(&request(json!({"timeout": absurd})), &unbounded).expect_err("refused");
        assert!(error.message().contains("later than this server can count"), "{}", error.message());
    }
    assert!(read(&request(json!({"timeout": 1_000_000_000})), &unbounded).is_ok());
    assert_eq!(accepted(json!({"timeout": 60})).timeout, Some(Duration::from_secs(60)));
}

#[test]
fn limits() {
    refuses(
        json!({"resourceLimits": {"cpu": "abc"}}),
        PARAMETER,
        "Invalid resourceLimits.cpu: 'abc'; must resolve to a positive resource limit.",
    );
    for (name, bad) in [
        ("cpu", "-1"),
        ("cpu", "0"),
        ("cpu", "1e9"),
        ("memory", "-5Mi"),
        ("memory", "99999999Ti"),
        ("memory", ""),
        ("pids", "0"),
        ("pids", "-1"),
        ("pids", "+5"),
        ("pids", "1.5"),
        ("pids", "99999999999999999999"),
    ] {
        refuses(json!({"resourceLimits": {name: bad}}), PARAMETER, &format!("Invalid resourceLimits.{name}"));
    }
    refuses(json!({"resourceLimits": {"memory": "1Ki"}}), PARAMETER, "at least 4Mi");
    refuses(json!({"resourceLimits": {"cpu": 1}}), PARAMETER, "resourceLimits[\"cpu\"] must be a string");
    refuses(json!({"resourceLimits": {"gpu": "1"}}), PARAMETER, "resourceLimits.gpu is not supported");
    refuses(json!({"resourceLimits": null}), PARAMETER, "resourceLimits is required");
    refuses(json!({"resourceLimits": [1]}), PARAMETER, "resourceLimits must be an object");
    refuses(json!({"resourceRequests": {"cpu": 1}}), PARAMETER, "resourceRequests[\"cpu\"] must be a string");
    assert_eq!(accepted(json!({"resourceLimits": {}})).limits, crate::model::Limits::default());
}

#[test]
fn environment() {
    for bad in [json!({"": "x"}), json!({"A=B": "x"}), json!({"A\0": "x"}), json!({"": null})] {
        refuses(json!({"env": bad}), PARAMETER, "env name");
    }
    refuses(json!({"env": {"A": "x\0"}}), PARAMETER, "must not contain a NUL");
    refuses(json!({"env": {"A": 1}}), PARAMETER, "env[\"A\"] must be a string");
    refuses(json!({"env": {"OPENSANDBOX_LIFECYCLE": "x"}}), PARAMETER, "is reserved");
    refuses(
        json!({"env": {"OPENSANDBOX_EGRESS_TOKEN": "x"}}),
        PARAMETER,
        "Environment variable 'OPENSANDBOX_EGRESS_TOKEN' is not allowed; permitted OPENSANDBOX_EGRESS_ keys: \
         ['OPENSANDBOX_EGRESS_CREDENTIAL_VAULT_REQUIRE_SCOPED_MATCH', ",
    );
}

#[test]
fn metadata() {
    let code = "SANDBOX::INVALID_METADATA_LABEL";
    refuses(
        json!({"metadata": {"opensandbox.io/x": "1"}}),
        code,
        "Metadata key 'opensandbox.io/x' uses the reserved prefix 'opensandbox.io/'. Keys under this prefix are managed \
         by the system and cannot be set via metadata.",
    );
    refuses(json!({"metadata": {"a b": "1"}}), code, "Metadata key 'a b' is invalid: must be either a name or");
    refuses(json!({"metadata": {"a": "b c"}}), code, "Metadata value 'b c'");
    refuses(json!({"metadata": {"a": 1}}), PARAMETER, "must be a string");
    refuses(json!({"metadata": {"a": null}}), PARAMETER, "must be a string");
}

#[test]
fn entrypoints() {
    refuses(json!({"entrypoint": null}), PARAMETER, "entrypoint is required");
    refuses(json!({"entrypoint": []}), PARAMETER, "at least one command");
    refuses(json!({"entrypoint": [""]}), PARAMETER, "entrypoint[0] must name a program");
    refuses(json!({"entrypoint": "sh -c x"}), PARAMETER, "entrypoint must be an array");
    refuses(json!({"entrypoint": ["sh", null]}), PARAMETER, "entrypoint[1] must be a string");
    refuses(json!({"entrypoint": ["sh", "a\0b"]}), PARAMETER, "entrypoint[1] must not contain a NUL");
    refuses(json!({"entrypoint": ["sh", "x".repeat(200_000)]}), PARAMETER, "entrypoint[1] takes 200001 bytes");
    assert_eq!(accepted(json!({"entrypoint": ["sh", ""]})).entrypoint, ["sh", ""]);
}

#[test]
fn platforms() {
    refuses(
        json!({"platform": {"os": "plan9", "arch": "amd64"}}),
        PARAMETER,
        "Unsupported platform.os 'plan9'. Supported values: ['linux', 'windows'].",
    );
    refuses(json!({"platform": {"os": "linux", "arch": "riscv64"}}), PARAMETER, "Unsupported platform.arch 'riscv64'");
    refuses(json!({"platform": {"os": "linux"}}), PARAMETER, "platform.arch is required");
    refuses(json!({"platform": {"os": "linux", "arch": "arm64"}}), PARAMETER, "cannot run on this host");
    refuses(json!({"platform": {"os": "windows", "arch": "amd64"}}), PARAMETER, "not supported by this version");
}

#[test]
fn features_that_are_not_there() {
    refuses(json!({"secureAccess": true}), PARAMETER, "secureAccess is not supported");
    refuses(json!({"secureAccess": "yes"}), PARAMETER, "secureAccess must be true or false");
    let policy = json!({"defaultAction": "deny", "egress": []});
    refuses(json!({"credentialProxy": {"enabled": true}}), PARAMETER, "requires networkPolicy");
    refuses(
        json!({"credentialProxy": {"enabled": true}, "networkPolicy": policy}),
        PARAMETER,
        "credentialProxy is not supported",
    );
    let hooks = json!({"preStart": {"command": ["true"]}});
    refuses(json!({"lifecycle": hooks}), PARAMETER, "lifecycle hooks are not supported");
    refuses(json!({"extensions": {"poolRef": "p"}}), "SANDBOX::UNSUPPORTED_POOL_REF", "poolRef is not supported");
    refuses(json!({"extensions": {"bootstrap.execd.isolation": "enable"}}), PARAMETER, "is not supported");
    refuses(
        json!({"extensions": {"access.renew.extend.seconds": "10"}}),
        PARAMETER,
        "Invalid extensions[\"access.renew.extend.seconds\"]: must be between 300 and 86400 seconds (5 minutes to 24 \
         hours inclusive), got 10.",
    );
    refuses(json!({"extensions": {"access.renew.extend.seconds": "soon"}}), PARAMETER, "whole number");
    refuses(json!({"extensions": {"a": 1}}), PARAMETER, "must be a string");
}

#[test]
fn volumes_by_their_codes() {
    let volume = |changes: Value| {
        let mut volume = json!({"name": "v", "mountPath": "/x", "host": {"path": "/etc"}});
        let fields = volume.as_object_mut().expect("an object");
        for (name, value) in changes.as_object().expect("an object").clone() {
            fields.insert(name, value);
        }
        volume
    };
    for (changes, code, message) in [
        (
            json!({}),
            "VOLUME::HOST_PATH_NOT_ALLOWED",
            "Host path '/etc' is not under any allowed prefix. Allowed prefixes: []",
        ),
        (
            json!({"host": null}),
            "VOLUME::INVALID_BACKEND",
            "Exactly one backend (host, pvc, ossfs) must be specified, but none was provided.",
        ),
        (json!({"pvc": {"claimName": "c"}}), "VOLUME::INVALID_BACKEND", "host, pvc were provided"),
        (json!({"name": "V"}), "VOLUME::INVALID_NAME", "volumes[0].name \"V\""),
        (json!({"name": null}), PARAMETER, "volumes[0].name is required"),
        (json!({"mountPath": "x"}), "VOLUME::INVALID_MOUNT_PATH", "absolute"),
        (json!({"subPath": "a/../b"}), "VOLUME::INVALID_SUB_PATH", "without '..'"),
        (json!({"host": {"path": "etc"}}), "VOLUME::INVALID_HOST_PATH", "absolute"),
        (json!({"host": null, "pvc": {"claimName": "A_b"}}), "VOLUME::INVALID_PVC_NAME", "claimName"),
        (
            json!({"host": null, "pvc": {"claimName": "c", "storageClass": null, "storage": null, "accessModes": null}}),
            "VOLUME::UNSUPPORTED_BACKEND",
            "'pvc' is not supported",
        ),
        (json!({"host": null, "ossfs": {"bucket": "abc", "endpoint": "e"}}), "VOLUME::UNSUPPORTED_BACKEND", "'ossfs'"),
        (json!({"readOnly": "no"}), PARAMETER, "true or false"),
    ] {
        refuses(json!({"volumes": [volume(changes)]}), code, message);
    }
    refuses(json!({"volumes": [volume(json!({})), volume(json!({}))]}), "VOLUME::DUPLICATE_NAME", "'v' is used twice");
    refuses(json!({"volumes": ["v"]}), PARAMETER, "volumes[0] must be an object");
    refuses(json!({"volumes": {}}), PARAMETER, "volumes must be an array");
}

/// Any JSON of a few levels, with the texts and numbers that parsers stumble over.
fn any_json() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    let texts = prop_oneof![any::<String>(), Just("\0".to_owned()), Just("9".repeat(40)), Just("-1Gi".to_owned())];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        texts.clone().prop_map(Value::from),
    ];
    let keys = prop_oneof![texts, "uri|path|host|pvc|name|mountPath|cpu|memory|pids|os|arch|enabled|poolRef"];
    leaf.prop_recursive(3, 24, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::hash_map(keys.clone(), inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

const FIELDS: &str = "image|snapshotId|templateId|platform|timeout|resourceLimits|resourceRequests|env|metadata|lifecycle|\
                      entrypoint|networkPolicy|credentialProxy|secureAccess|volumes|extensions";

proptest::proptest! {
    #[test]
    fn any_value_of_any_field_is_accepted_or_refused_politely(field in FIELDS, value in any_json()) {
        let mut body = request(json!({}));
        body[&field] = value;
        match read(&body, &rules()) {
            Ok(spec) => {
                proptest::prop_assert!(!spec.entrypoint.is_empty() && !spec.image.trim().is_empty());
                proptest::prop_assert!(spec.timeout.is_none_or(|timeout| timeout.as_secs() >= 60));
            }
            Err(error) => {
                proptest::prop_assert!(error.status().is_client_error(), "{}", error.message());
                proptest::prop_assert!(error.message().len() < 2000, "{}", error.message());
            }
        }
    }

    #[test]
    fn any_document_is_refused_politely(value in any_json()) {
        proptest::prop_assert!(read(&value, &rules()).is_err());
    }
}

#[test]
fn what_is_above_the_servers_maximum_is_refused_by_name() {
    let max_limits = Limits { cpu_millis: Some(2000), disk_bytes: Some(1 << 30), ..Limits::default() };
    let rules = Rules { max_limits, ..rules() };
    let ask = |limits: Value| read(&request(json!({ "resourceLimits": limits })), &rules);
    assert!(ask(json!({"cpu": "2", "disk": "1Gi", "memory": "1Ti"})).is_ok());
    for (limits, message) in [
        (json!({"cpu": "2001m"}), "resourceLimits.cpu is 2001m and this server allows at most 2000m."),
        (
            json!({"ephemeral-storage": "2Gi"}),
            "resourceLimits.disk is 2147483648 bytes and this server allows at most 1073741824 bytes.",
        ),
    ] {
        let error = ask(limits).expect_err("too much");
        assert_eq!(error.message(), message);
    }
}

#[test]
fn what_clients_can_give_to_the_entrypoint_is_read() {
    let ask = |extensions: Value| read(&request(json!({ "extensions": extensions })), &rules());
    let of = |extensions: Value| ask(extensions).map(|spec| (spec.interaction, spec.cwd)).expect("valid");
    assert_eq!(of(json!({})), (Interaction::None, None));
    assert_eq!(of(json!({"bivouac.stdin": "true"})).0, Interaction::Input);
    let both = of(json!({"bivouac.stdin": "true", "bivouac.terminal": "132x43", "bivouac.cwd": "/tmp"}));
    assert_eq!(both, (Interaction::Terminal { columns: 132, rows: 43 }, Some("/tmp".to_owned())));
    assert_eq!(of(json!({"bivouac.terminal": "true"})).0, Interaction::Terminal { columns: 80, rows: 24 });
    for bad in [
        json!({"bivouac.stdin": "yes"}),
        json!({"bivouac.terminal": "0x24"}),
        json!({"bivouac.terminal": "80"}),
        json!({"bivouac.terminal": "99999x1"}),
        json!({"bivouac.cwd": "tmp"}),
        json!({"bivouac.cwd": ""}),
    ] {
        let error = ask(bad.clone()).expect_err("invalid");
        assert!(error.message().contains("extensions["), "{bad}: {}", error.message());
    }
}

#[test]
fn a_policy_comes_with_a_network() {
    let policy = json!({"defaultAction": "deny", "egress": [{"action": "allow", "target": "*.Example.com"}]});
    let spec = accepted(json!({ "networkPolicy": policy }));
    assert_eq!(spec.network, Some(NetworkMode::Bridge));
    let made = spec.policy.expect("a policy").rules;
    assert_eq!(made.iter().map(|rule| rule.target.to_string()).collect::<Vec<_>>(), ["*.example.com"]);
    for none in
        [json!(null), json!({}), json!({"defaultAction": "allow"}), json!({"defaultAction": null, "egress": null})]
    {
        let spec = accepted(json!({ "networkPolicy": none }));
        assert_eq!((spec.network, spec.policy), (None, None), "{none}");
    }
    for closed in [json!({"defaultAction": "deny"}), json!({"egress": []})] {
        let spec = accepted(json!({ "networkPolicy": closed }));
        assert_eq!(spec.policy, Some(crate::model::NetworkPolicy::closed()), "{closed}");
    }
    let alone = json!({"bivouac.network": "none"});
    refuses(json!({"networkPolicy": policy, "extensions": alone}), PARAMETER, "leave one of them out");
    accepted(json!({"networkPolicy": {}, "extensions": alone}));
    let rules = Rules { network: offer(NetworkMode::None), ..rules() };
    let error = read(&request(json!({ "networkPolicy": policy })), &rules).expect_err("refused");
    let told = "networkPolicy needs a network, and the sandboxes of this server have none: so it is decided. ";
    assert!(error.message().starts_with(told), "{}", error.message());
    refuses(json!({"networkPolicy": []}), PARAMETER, "networkPolicy must be an object");
    for misspelt in [json!({"default_action": "deny"}), json!({"rules": [], "defaultAction": null})] {
        refuses(
            json!({ "networkPolicy": misspelt }),
            PARAMETER,
            "networkPolicy has neither defaultAction nor egress, but \"",
        );
    }
    accepted(json!({"networkPolicy": {"default_action": null}}));
    refuses(
        json!({"networkPolicy": {"egress": [{"action": "allow", "target": "a b"}]}}),
        PARAMETER,
        "networkPolicy.egress[0].target \"a b\" is no domain",
    );
}

#[test]
fn a_network_is_asked_for_within_what_the_server_allows() {
    let asked = |name: &str, value: &str| json!({ "extensions": { name: value } });
    let terms = |name, value| accepted(asked(name, value)).network_terms;
    assert!(terms("bivouac.network", "bridge").is_empty());
    assert_eq!(terms("bivouac.network.connections", " 1000 ").connections, Some(1000));
    assert_eq!(terms("bivouac.network.bandwidth", "10Mi").bandwidth, Some(10 << 20));
    assert_eq!(terms("bivouac.network.name", "team-1").name, "team-1".parse().ok());
    for (name, value, message) in [
        ("bivouac.network", "wifi", "it must be none, bridge or host"),
        ("bivouac.network.connections", "1001", "is 1001 and this server allows at most 1000"),
        ("bivouac.network.connections", "0", "must be a whole number above 0"),
        ("bivouac.network.connections", "-1", "must be a whole number above 0"),
        ("bivouac.network.bandwidth", "1", "must be bytes a second"),
        ("bivouac.network.bandwidth", "fast", "must be bytes a second"),
        ("bivouac.network.name", "Team", "it must be 1 to 63 of a-z, 0-9 and -, with no - at either end, got \"Team\""),
        ("bivouac.network.name", "", "it must be 1 to 63"),
    ] {
        refuses(asked(name, value), PARAMETER, message);
    }
}

#[test]
fn nobody_gets_a_network_that_is_not_there() {
    let rules = Rules { network: offer(NetworkMode::None), ..rules() };
    let asked = |name: &str, value: &str| read(&request(json!({ "extensions": { name: value } })), &rules);
    let error = asked("bivouac.network", "bridge").expect_err("refused");
    assert_eq!(error.code(), PARAMETER);
    assert!(error.message().contains("of this server have no network: so it is decided."), "{}", error.message());
    for (name, value) in
        [("bivouac.network.connections", "10"), ("bivouac.network.bandwidth", "1Mi"), ("bivouac.network.name", "team")]
    {
        let error = asked(name, value).expect_err("refused");
        assert!(error.message().contains(&format!("[{name:?}]: it is about a network")), "{}", error.message());
    }
    assert_eq!(asked("bivouac.network", "none").map(|spec| spec.network).ok(), Some(Some(NetworkMode::None)));
    let both = json!({"extensions": {"bivouac.network": "none", "bivouac.network.bandwidth": "1Mi"}});
    refuses(both, PARAMETER, "this one would have none; leave it out");
}

#[test]
fn the_hosts_network_is_for_who_asks_where_the_operator_allows_it() {
    let host = json!({"extensions": {"bivouac.network": "host"}});
    refuses(host.clone(), PARAMETER, "[network] allow_host = true");
    let offer = NetworkOffer { allows_host: true, ..NetworkOffer::default() };
    let rules = Rules { network: &offer, ..rules() };
    let asked = |changes: Value| read(&request(changes), &rules);
    assert_eq!(asked(host).expect("allowed").network, Some(NetworkMode::Host));
    assert_eq!(asked(json!({})).expect("valid").network, None, "nobody has it without asking");
    let of_host = json!({"bivouac.network": "host"});
    let policed = json!({"extensions": of_host, "networkPolicy": {"defaultAction": "deny"}});
    let error = asked(policed).expect_err("refused");
    assert!(error.message().contains("leave one of them out"), "{}", error.message());
    let bounded = json!({"extensions": {"bivouac.network": "host", "bivouac.network.connections": "10"}});
    let error = asked(bounded).expect_err("refused");
    assert!(error.message().contains("a network of the sandbox's own"), "{}", error.message());
}
