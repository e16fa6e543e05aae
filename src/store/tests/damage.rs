//! Rows and files that are not what was written.

use super::*;

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
fn a_range_that_cannot_be_one_is_left_out_and_set_aside() {
    let place = Place::new();
    let store = place.open();
    store.insert(&known()).unwrap();
    for base in [-1_i64, 1 << 32, i64::MAX] {
        place.raw().execute("UPDATE record SET id_base = ?1", [base]).unwrap();
        assert_eq!(store.id_bases().unwrap(), Vec::<u32>::new(), "{base}");
    }
    assert!(load_with_bad(&place, &store).contains("another id range"));
}
