//! The record store, as its users see it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::model::{
    Event, Exit, History, Interaction, Limits, NetworkTerms, Phase, Platform, Reason, SandboxSpec, Status,
};

mod damage;

const ID: &str = "0b5e5d5e-6f70-4a39-9d3e-2f0f3c9f6f11";

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("records.db")
    }

    fn open(&self) -> Store {
        Store::open(&self.file()).unwrap()
    }

    /// The tables, behind the store's back.
    fn raw(&self) -> Connection {
        Connection::open(self.file()).unwrap()
    }
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn record(id: SandboxId, id_base: Option<u32>) -> Record {
    let deadline = Deadline { boot_nanos: u64::MAX, unix_micros: 1_790_000_060_000_000 };
    Record {
        id,
        spec: SandboxSpec {
            image: "bivouac/base:latest".to_owned(),
            entrypoint: vec!["sh".to_owned(), "-c".to_owned(), "echo \"\u{e9}\"\n".to_owned()],
            env: pairs(&[("A", "1")]),
            metadata: pairs(&[("name", "web")]),
            limits: Limits { cpu_millis: Some(500), memory_bytes: Some(1 << 62), ..Limits::default() },
            timeout: Some(Duration::from_millis(60_500)),
            platform: Some(Platform { os: "linux".to_owned(), arch: "amd64".to_owned() }),
            extensions: pairs(&[("opensandbox.extensions.x", "y")]),
            network: None,
            interaction: Interaction::None,
            cwd: None,
            policy: None,
            network_terms: NetworkTerms::default(),
        },
        status: Status {
            phase: Phase::Failed,
            reason: Reason::OomKilled,
            message: "the entrypoint was killed".to_owned(),
            since_unix_nanos: -1,
            exit: Some(Exit::Signal(9)),
        },
        created_unix_micros: 1_790_000_000_000_000,
        id_base,
        boot_id: "boot".to_owned(),
        proof: Some("proof".to_owned()),
        notes: vec!["a note".to_owned()],
        expiry: Some(Expiry { deadline, provisional: false }),
        removed: true,
        cleaned: true,
        forget: Some(deadline),
        history: remembered(),
        fetching: None,
    }
}

fn remembered() -> History {
    let (phase, reason) = (Phase::Running, Reason::Started);
    let mut history = History::default();
    history.add(Event { unix_micros: 1, phase, reason, message: "it runs".to_owned() });
    history
}

fn known() -> Record {
    record(ID.parse().unwrap(), Some(65_536))
}

#[test]
fn what_was_written_is_read_back_by_the_next() {
    let place = Place::new();
    let (first, second) = (known(), record(SandboxId::random(), None));
    let store = place.open();
    store.insert(&first).unwrap();
    store.insert(&second).unwrap();
    let changed = Record { id_base: None, proof: None, expiry: None, forget: None, ..first };
    store.update(&changed).unwrap();
    drop(store);
    let store = place.open();
    let loaded = store.load_all().unwrap();
    assert!(loaded.quarantined.is_empty());
    assert_eq!(loaded.records.len(), 2);
    assert!(loaded.records.contains(&changed) && loaded.records.contains(&second));
    store.delete(&changed.id).unwrap();
    store.delete(&changed.id).unwrap();
    assert_eq!(store.load_all().unwrap().records, [second]);
}

/// A change here needs a new version and a way to read the old one: sandboxes outlive an upgrade of the daemon.
#[test]
fn the_form_on_disk_is_pinned() {
    let body = String::from_utf8(records::seal(&known()).unwrap().body).unwrap();
    assert_eq!(
        body,
        concat!(
            r#"{"version":1,"id":"0b5e5d5e-6f70-4a39-9d3e-2f0f3c9f6f11","id_base":65536,"boot_id":"boot","#,
            r#""proof":"proof","created_unix_micros":1790000000000000,"expiry":{"deadline":{"#,
            r#""boot_nanos":18446744073709551615,"unix_micros":1790000060000000},"provisional":false},"#,
            r#""removed":true,"cleaned":true,"forget":{"boot_nanos":18446744073709551615,"#,
            r#""unix_micros":1790000060000000},"notes":["a note"],"status":{"phase":"Failed","#,
            r#""reason":"oom_killed","message":"the entrypoint was killed","since_unix_nanos":-1,"#,
            r#""exit":{"Signal":9}},"spec":{"image":"bivouac/base:latest","#,
            r#""entrypoint":["sh","-c","echo \"é\"\n"],"env":{"A":"1"},"metadata":{"name":"web"},"#,
            r#""limits":{"cpu_millis":500,"memory_bytes":4611686018427387904,"pids":null},"#,
            r#""timeout":{"secs":60,"nanos":500000000},"platform":{"os":"linux","arch":"amd64"},"#,
            r#""extensions":{"opensandbox.extensions.x":"y"}},"history":{"events":[{"unix_micros":1,"#,
            r#""phase":"Running","reason":"started","message":"it runs"}],"left_out":0}}"#
        )
    );
}

#[test]
fn a_record_from_before_there_was_a_history_is_read() {
    let body = String::from_utf8(records::seal(&known()).unwrap().body).unwrap();
    let (before, _) = body.split_once(r#","history""#).unwrap();
    let old = format!("{before}}}");
    let digest: [u8; 32] = <sha2::Sha256 as sha2::Digest>::digest(&old).into();
    let read = records::unseal(old.as_bytes(), &digest).unwrap();
    assert_eq!(read, Record { history: History::default(), ..known() });
}

#[test]
fn a_daemon_that_is_killed_loses_no_record() {
    let place = Place::new();
    let store = place.open();
    store.insert(&known()).unwrap();
    // What a new daemon finds: the files as they are, with nothing closed or moved.
    let after = Place::new();
    for name in ["records.db", "records.db-wal"] {
        std::fs::copy(place.0.path().join(name), after.0.path().join(name)).unwrap();
    }
    assert_eq!(after.open().load_all().unwrap().records, [known()]);
}

#[test]
fn a_log_that_was_cut_short_loses_only_its_end() {
    let place = Place::new();
    let store = place.open();
    for number in 1..20 {
        store.insert(&record(SandboxId::random(), Some(number * 65_536))).unwrap();
    }
    let log = std::fs::read(place.0.path().join("records.db-wal")).unwrap();
    for cut in (0..log.len()).step_by(4999) {
        let after = Place::new();
        std::fs::copy(place.file(), after.file()).unwrap();
        std::fs::write(after.0.path().join("records.db-wal"), &log[..cut]).unwrap();
        let loaded = after.open().load_all().unwrap();
        assert!(loaded.quarantined.is_empty() && loaded.records.len() <= 19);
    }
}

#[test]
fn no_range_stands_in_two_records() {
    let place = Place::new();
    let store = place.open();
    store.insert(&known()).unwrap();
    let twin = record(SandboxId::random(), Some(65_536));
    assert!(matches!(store.insert(&twin), Err(StoreError::Taken { id }) if id == twin.id));
    assert!(matches!(store.insert(&known()), Err(StoreError::Taken { .. })));
    let other = record(SandboxId::random(), Some(131_072));
    store.insert(&other).unwrap();
    assert!(matches!(store.update(&Record { id_base: Some(65_536), ..other }), Err(StoreError::Taken { .. })));
    store.update(&Record { id_base: None, ..known() }).unwrap();
    store.insert(&twin).unwrap();
}

#[test]
fn a_record_that_is_not_there_cannot_be_updated() {
    let place = Place::new();
    assert!(matches!(place.open().update(&known()), Err(StoreError::Missing { .. })));
}

#[test]
fn the_files_are_for_the_daemon_alone() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let store = place.open();
    store.insert(&known()).unwrap();
    for entry in std::fs::read_dir(place.0.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
    }
}

#[test]
fn many_threads_write_at_once() {
    let place = Place::new();
    let store = place.open();
    std::thread::scope(|scope| {
        for thread in 1..5 {
            let store = &store;
            scope.spawn(move || {
                for number in 0..50 {
                    let mut made = record(SandboxId::random(), Some((thread * 100 + number) * 65_536));
                    store.insert(&made).unwrap();
                    made.status.message.push('!');
                    store.update(&made).unwrap();
                }
            });
        }
    });
    assert_eq!(store.load_all().unwrap().records.len(), 200);
}
