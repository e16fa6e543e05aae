//! Records that cannot be written, as on a full disk.

use super::*;

/// Makes every such statement on the records fail until the returned word is dropped from the tables again.
fn forbid(bench: &Bench, statement: &str) -> String {
    let name = format!("no_{}", statement.to_lowercase());
    let refuse = "BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END";
    bench.records().execute_batch(&format!("CREATE TRIGGER {name} BEFORE {statement} ON record {refuse}")).unwrap();
    name
}

fn allow(bench: &Bench, name: &str) {
    bench.records().execute_batch(&format!("DROP TRIGGER {name}")).unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_recorded_is_not_made() {
    let bench = Bench::new().await;
    forbid(&bench, "INSERT");
    let denied = bench.sandboxes.create(spec()).await;
    assert!(matches!(&denied, Err(Denial::Store(why)) if why.contains("disk is full")), "{denied:?}");
    assert_eq!((bench.get_all(), bench.host.taken_ranges(), bench.host.left_over()), (0, 0, vec![]));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_recorded_as_running_is_not_handed_out() {
    let bench = Bench::new().await;
    let forbidden = forbid(&bench, "UPDATE");
    let failed = bench.sandboxes.create(spec()).await.unwrap();
    assert_eq!((failed.status.phase, failed.status.reason), (Phase::Failed, Reason::StartFailed));
    assert!(failed.status.message.contains("disk is full"), "{}", failed.status.message);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.host.living(), []);
    allow(&bench, &forbidden);
    tokio::time::sleep(Duration::from_secs(6)).await;
    let bench = bench.restart().await;
    assert_eq!(bench.get(&failed.id).status, failed.status, "it was recorded as soon as that was possible");
}

#[tokio::test(start_paused = true)]
async fn a_change_that_cannot_be_recorded_is_not_begun() {
    let bench = Bench::new().await;
    let id = bench.sandboxes.create(spec_for(Duration::from_secs(600))).await.unwrap().id;
    let before = bench.get(&id);
    let forbidden = forbid(&bench, "UPDATE");
    assert!(matches!(bench.sandboxes.pause(&id).await, Err(Denial::Store(_))));
    let later = before.expires_at.unwrap() + chrono::TimeDelta::days(1);
    assert!(matches!(bench.sandboxes.renew(&id, later).await, Err(Denial::Store(_))));
    let patch = BTreeMap::from([("a".to_owned(), Some("1".to_owned()))]);
    assert!(matches!(bench.sandboxes.patch_metadata(&id, patch).await, Err(Denial::Store(_))));
    assert_eq!((bench.get(&id), bench.host.is_frozen_now(&id)), (before, false));
    allow(&bench, &forbidden);
    assert_eq!(bench.sandboxes.pause(&id).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn deleting_needs_no_room() {
    let bench = Bench::new().await;
    let id = bench.create().await;
    let forbidden = forbid(&bench, "UPDATE");
    bench.sandboxes.delete(&id).await.unwrap();
    bench.until(&id, Phase::Terminated).await;
    assert_eq!(bench.host.left_over(), Vec::<String>::new());
    assert_eq!(bench.host.taken_ranges(), 1, "the record still names its range");
    allow(&bench, &forbidden);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(bench.host.taken_ranges(), 0);
    bench.check_host();
}

#[tokio::test(start_paused = true)]
async fn an_end_is_known_before_it_can_be_recorded() {
    let bench = Bench::new().await;
    let id = bench.create().await;
    let forbidden = forbid(&bench, "UPDATE");
    bench.host.exit(&id, 3);
    assert_eq!(bench.sandboxes.wait(&id).await.unwrap().status.exit, Some(Exit::Code(3)));
    allow(&bench, &forbidden);
    tokio::time::sleep(Duration::from_secs(6)).await;
    let bench = bench.restart().await;
    assert_eq!(bench.get(&id).status.exit, Some(Exit::Code(3)));
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_deleted_is_deleted_later() {
    let bench = Bench::new().await;
    let id = bench.create().await;
    let forbidden = forbid(&bench, "DELETE");
    bench.sandboxes.delete(&id).await.unwrap();
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(bench.phase(&id), Some(Phase::Terminated));
    allow(&bench, &forbidden);
    bench.until_gone(&id).await;
    let bench = bench.restart().await;
    assert_eq!(bench.get_all(), 0);
}
