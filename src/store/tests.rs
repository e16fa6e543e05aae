use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::model::{Exit, Limits, Phase, Platform, Reason, SandboxSpec, Status};

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
            limits: Limits { cpu_millis: Some(500), memory_bytes: Some(1 << 62), pids: None },
            timeout: Some(Duration::from_millis(60_500)),
            platform: Some(Platform { os: "linux".to_owned(), arch: "amd64".to_owned() }),
            extensions: pairs(&[("opensandbox.extensions.x", "y")]),
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
    }
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
            r#""extensions":{"opensandbox.extensions.x":"y"}}}"#
        )
    );
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

/// Loads with one bad row beside a good one; says what is wrong with the bad one.
fn load_with_bad(place: &Place, store: &Store) -> String {
    let good = record(SandboxId::random(), Some(131_072));
    store.insert(&good).unwrap();
    let loaded = store.load_all().unwrap();
    assert_eq!(loaded.records, std::slice::from_ref(&good));
    assert_eq!(loaded.quarantined.len(), 1);
    let again = store.load_all().unwrap();
    assert!(again.quarantined.is_empty() && again.records.len() == 1, "it was set aside");
    let kept: i64 = place.raw().query_row("SELECT count(*) FROM quarantine", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, 1, "and kept for whoever wants to look");
    store.delete(&good.id).unwrap();
    loaded.quarantined[0].problem.clone()
}

#[test]
fn a_row_that_cannot_be_believed_is_set_aside() {
    let seal_text = |body: &str| {
        use sha2::{Digest, Sha256};
        let digest: [u8; 32] = Sha256::digest(body).into();
        (body.as_bytes().to_vec(), digest)
    };
    let sealed = records::seal(&known()).unwrap();
    let body = String::from_utf8(sealed.body.clone()).unwrap();
    let cases: Vec<(Vec<u8>, [u8; 32], &str)> = vec![
        (sealed.body[..sealed.body.len() / 2].to_vec(), sealed.digest, "digest"),
        (Vec::new(), sealed.digest, "digest"),
        (b"\xff\xfe".to_vec(), sealed.digest, "digest"),
        (sealed.body.clone(), [0; 32], "digest"),
        (seal_text("{").0, seal_text("{").1, "does not parse"),
        (seal_text("{\"version\":1}").0, seal_text("{\"version\":1}").1, "does not parse"),
        (seal_text("{\"version\":2}").0, seal_text("{\"version\":2}").1, "version 2"),
    ];
    let foreign_base = seal_text(&body.replace("65536", "65537"));
    let foreign_id = seal_text(&body.replace("0b5e5d5e", "1b5e5d5e"));
    let cases = cases
        .into_iter()
        .chain([(foreign_base.0, foreign_base.1, "another id range"), (foreign_id.0, foreign_id.1, "another id")]);
    for (body, digest, problem) in cases {
        let place = Place::new();
        let store = place.open();
        store.insert(&known()).unwrap();
        place.raw().execute("UPDATE record SET body = ?1, digest = ?2", params![body, digest.as_slice()]).unwrap();
        let told = load_with_bad(&place, &store);
        assert!(told.contains(problem), "{told} should be about {problem}");
    }
}

#[test]
fn an_id_that_is_no_text_is_set_aside() {
    let place = Place::new();
    let store = place.open();
    store.insert(&known()).unwrap();
    place.raw().execute("UPDATE record SET id = CAST(x'ff00fe' AS TEXT)", []).unwrap();
    assert!(load_with_bad(&place, &store).contains("another id"));
}

#[test]
fn every_flipped_bit_of_a_body_is_found() {
    let sealed = records::seal(&known()).unwrap();
    for place in 0..sealed.body.len() {
        let mut body = sealed.body.clone();
        body[place] ^= 1 << (place % 8);
        assert!(records::unseal(&body, &sealed.digest).is_err(), "byte {place}");
    }
}

#[test]
fn a_newer_store_is_refused() {
    let place = Place::new();
    drop(place.open());
    place.raw().pragma_update(None, "user_version", 2).unwrap();
    let refused = Store::open(&place.file());
    assert!(matches!(refused, Err(StoreError::Newer { found: 2, known: 1, .. })), "{refused:?}");
    place.raw().pragma_update(None, "user_version", -1).unwrap();
    assert!(matches!(Store::open(&place.file()), Err(StoreError::Damaged { .. })));
}

#[test]
fn what_is_no_store_is_refused_in_clear_words() {
    let place = Place::new();
    std::fs::write(place.file(), "this is a text file, and a rather long one, so that it has a header".repeat(10))
        .unwrap();
    let refused = Store::open(&place.file()).unwrap_err();
    assert!(matches!(refused, StoreError::NotADatabase { .. }), "{refused:?}");
    assert!(refused.to_string().contains("records.db"), "{refused}");
    assert!(matches!(Store::open(place.0.path()), Err(StoreError::Open { .. })), "a directory");
    let link = place.0.path().join("link");
    std::os::unix::fs::symlink(place.file(), &link).unwrap();
    assert!(matches!(Store::open(&link), Err(StoreError::Open { .. })), "a symbolic link");
    let nowhere = place.0.path().join("no").join("where");
    assert!(matches!(Store::open(&nowhere), Err(StoreError::Create { .. })));
}

#[test]
fn a_damaged_file_is_refused_or_read_but_never_a_panic() {
    let place = Place::new();
    let store = place.open();
    for number in 1..50 {
        store.insert(&record(SandboxId::random(), Some(number * 65_536))).unwrap();
    }
    drop(store);
    let whole = std::fs::read(place.file()).unwrap();
    for round in 0..250 {
        let mut damaged = whole.clone();
        match round % 3 {
            0 => damaged.truncate(whole.len() * round / 250),
            1 => damaged[(round * 7919) % whole.len()] ^= 1 << (round % 8),
            _ => damaged[whole.len() * round / 250..].fill(0xa5),
        }
        let after = Place::new();
        std::fs::write(after.file(), damaged).unwrap();
        match Store::open(&after.file()) {
            Ok(store) => match store.load_all() {
                Ok(loaded) => assert!(loaded.records.len() <= 49),
                Err(error) => assert!(matches!(error, StoreError::Read(_)), "{error:?}"),
            },
            Err(error) => {
                let clear = matches!(
                    error,
                    StoreError::NotADatabase { .. }
                        | StoreError::Damaged { .. }
                        | StoreError::Newer { .. }
                        | StoreError::Open { .. }
                );
                assert!(clear, "{error:?}");
            }
        }
    }
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
