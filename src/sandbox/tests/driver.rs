//! One sandbox and its driver.

use super::*;

fn not_found(id: &SandboxId) -> Denial {
    Denial::NotFound { id: id.to_string() }
}

#[tokio::test(start_paused = true)]
async fn a_whole_life() {
    let bench = Bench::new().await;
    let id = bench.create().await;
    assert_eq!(bench.host.left_over().len(), 5);
    bench.sandboxes.pause(&id).await.unwrap();
    assert_eq!((bench.phase(&id), bench.host.is_frozen_now(&id)), (Some(Phase::Paused), true));
    bench.sandboxes.resume(&id).await.unwrap();
    assert_eq!((bench.phase(&id), bench.host.is_frozen_now(&id)), (Some(Phase::Running), false));
    bench.sandboxes.delete(&id).await.unwrap();
    let gone = bench.until(&id, Phase::Terminated).await;
    assert_eq!(gone.status.reason, Reason::UserDelete);
    assert_eq!((bench.host.left_over(), bench.host.taken_ranges()), (vec![], 0));
    bench.until_gone(&id).await;
    bench.check_host();
}

#[tokio::test(start_paused = true)]
async fn after_the_first_delete_nothing_finds_it_but_reading() {
    let bench = Bench::new().await;
    bench.host.delay(Step::Destroy, Duration::from_secs(5));
    let id = bench.create().await;
    bench.sandboxes.delete(&id).await.unwrap();
    for phase in [Phase::Stopping, Phase::Terminated] {
        bench.until(&id, phase).await;
        let sandboxes = &bench.sandboxes;
        assert_eq!(sandboxes.delete(&id).await, Err(not_found(&id)));
        assert_eq!(sandboxes.pause(&id).await, Err(not_found(&id)));
        assert_eq!(sandboxes.resume(&id).await, Err(not_found(&id)));
        assert_eq!(sandboxes.signal(&id, 15).await, Err(not_found(&id)));
        assert_eq!(sandboxes.renew(&id, chrono::Utc::now()).await, Err(not_found(&id)));
        assert_eq!(sandboxes.patch_metadata(&id, BTreeMap::new()).await, Err(not_found(&id)));
    }
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(bench.phase(&id), Some(Phase::Terminated), "for a minute it can be read");
    bench.until_gone(&id).await;
}

#[tokio::test(start_paused = true)]
async fn an_entrypoint_that_ends_leaves_its_record_and_logs() {
    let bench = Bench::new().await;
    for (code, phase) in [(0, Phase::Terminated), (3, Phase::Failed)] {
        let id = bench.create().await;
        bench.host.exit(&id, code);
        let ended = bench.sandboxes.wait(&id).await.unwrap();
        assert_eq!((ended.status.phase, ended.status.exit), (phase, Some(Exit::Code(code))));
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(bench.host.left_over(), [format!("{id} logs")]);
        assert_eq!(bench.sandboxes.pause(&id).await, Err(Denial::NotRunning { phase }));
        assert_eq!(bench.sandboxes.signal(&id, 9).await, Err(Denial::NotAlive { phase }));
        bench.sandboxes.delete(&id).await.unwrap();
        let gone = bench.until(&id, Phase::Terminated).await;
        assert_eq!(gone.status.exit, Some(Exit::Code(code)));
        bench.until_gone(&id).await;
        assert_eq!((bench.host.left_over(), bench.host.taken_ranges()), (vec![], 0));
    }
    bench.check_host();
}

#[tokio::test(start_paused = true)]
async fn calls_during_a_freeze_are_decided_after_it() {
    let bench = Bench::new().await;
    bench.host.delay(Step::Freeze, Duration::from_secs(2));
    let id = bench.create().await;
    let first = begin(&bench, {
        let id = id.clone();
        |all| async move { all.pause(&id).await }
    });
    bench.until(&id, Phase::Pausing).await;
    let second = begin(&bench, {
        let id = id.clone();
        |all| async move { all.pause(&id).await }
    });
    let resumed = begin(&bench, {
        let id = id.clone();
        |all| async move { all.resume(&id).await }
    });
    assert_eq!(first.await.unwrap(), Ok(()));
    assert_eq!(second.await.unwrap(), Err(Denial::NotRunning { phase: Phase::Paused }));
    assert_eq!(resumed.await.unwrap(), Ok(()));
    assert_eq!(bench.phase(&id), Some(Phase::Running));
    assert_eq!(bench.sandboxes.resume(&id).await, Err(Denial::NotPaused { phase: Phase::Running }));
    bench.check_host();
}

#[tokio::test(start_paused = true)]
async fn a_delete_during_a_freeze_waits_for_its_end() {
    let bench = Bench::new().await;
    bench.host.delay(Step::Freeze, Duration::from_secs(2));
    let id = bench.create().await;
    let paused = begin(&bench, {
        let id = id.clone();
        |all| async move { all.pause(&id).await }
    });
    bench.until(&id, Phase::Pausing).await;
    bench.sandboxes.delete(&id).await.unwrap();
    assert_eq!(paused.await.unwrap(), Ok(()), "it was paused for a moment");
    bench.until(&id, Phase::Terminated).await;
    assert_eq!(bench.host.left_over(), Vec::<String>::new());
    bench.check_host();
}

#[tokio::test(start_paused = true)]
async fn an_end_during_a_freeze_is_seen_after_it() {
    let bench = Bench::new().await;
    bench.host.delay(Step::Freeze, Duration::from_secs(2));
    let id = bench.create().await;
    let paused = begin(&bench, {
        let id = id.clone();
        |all| async move { all.pause(&id).await }
    });
    bench.until(&id, Phase::Pausing).await;
    bench.host.exit(&id, 7);
    assert_eq!(paused.await.unwrap(), Ok(()));
    assert_eq!(bench.until(&id, Phase::Failed).await.status.exit, Some(Exit::Code(7)));
    bench.check_host();
}

#[tokio::test(start_paused = true)]
async fn a_delete_while_pending_leaves_nothing() {
    let bench = Bench::new().await;
    bench.host.delay(Step::Launch, Duration::from_secs(60));
    let created = begin(&bench, |all| async move { all.create(spec()).await });
    tokio::time::sleep(Duration::from_secs(20)).await;
    let id = bench.sandboxes.list(&Filter::default(), 1, 20).items[0].id.clone();
    assert_eq!(bench.sandboxes.pause(&id).await, Err(Denial::NotRunning { phase: Phase::Pending }));
    bench.sandboxes.delete(&id).await.unwrap();
    assert_eq!(created.await.unwrap().unwrap().status.phase, Phase::Stopping);
    bench.until(&id, Phase::Terminated).await;
    assert_eq!((bench.host.left_over(), bench.host.taken_ranges()), (vec![], 0));
    bench.check_host();
}

#[tokio::test(start_paused = true)]
async fn signals_go_to_the_entrypoint() {
    let bench = Bench::new().await;
    let id = bench.create().await;
    bench.sandboxes.signal(&id, 1).await.unwrap();
    bench.host.fail(Step::Signal, 1);
    assert!(matches!(bench.sandboxes.signal(&id, 2).await, Err(Denial::Host(_))));
    assert_eq!(bench.host.signals(&id), [1]);
    bench.sandboxes.signal(&id, 15).await.unwrap();
    assert_eq!(bench.sandboxes.wait(&id).await.unwrap().status.exit, Some(Exit::Signal(15)));
}

#[tokio::test(start_paused = true)]
async fn a_patch_sets_and_removes_labels() {
    let bench = Bench::new().await;
    let metadata = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
    let id = bench.sandboxes.create(SandboxSpec { metadata, ..spec() }).await.unwrap().id;
    let patch = BTreeMap::from([
        ("a".to_owned(), None),
        ("b".to_owned(), Some("3".to_owned())),
        ("c".to_owned(), Some(String::new())),
        ("d".to_owned(), None),
    ]);
    let patched = bench.sandboxes.patch_metadata(&id, patch).await.unwrap();
    let expected = BTreeMap::from([("b".to_owned(), "3".to_owned()), ("c".to_owned(), String::new())]);
    assert_eq!(patched.spec.metadata, expected);
    let bench = bench.restart().await;
    assert_eq!(bench.get(&id).spec.metadata, expected);
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_with_the_sandbox() {
    let bench = Bench::new().await;
    assert_eq!(bench.sandboxes.wait(&SandboxId::random()).await, None);
    let id = bench.create().await;
    let waited = begin(&bench, {
        let id = id.clone();
        |all| async move { all.wait(&id).await }
    });
    bench.sandboxes.delete(&id).await.unwrap();
    assert_eq!(waited.await.unwrap().unwrap().status.phase, Phase::Terminated);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_finishes_what_was_begun_and_leaves_the_rest() {
    let bench = Bench::new().await;
    bench.host.delay(Step::Freeze, Duration::from_secs(2));
    let id = bench.create().await;
    let other = bench.create().await;
    let paused = begin(&bench, {
        let id = id.clone();
        |all| async move { all.pause(&id).await }
    });
    bench.until(&id, Phase::Pausing).await;
    assert!(!bench.host.is_left());
    bench.sandboxes.shutdown().await;
    assert!(bench.host.is_left());
    assert_eq!(paused.await.unwrap(), Ok(()));
    assert_eq!(bench.sandboxes.pause(&other).await, Err(Denial::ShuttingDown));
    assert_eq!(bench.sandboxes.create(spec()).await, Err(Denial::ShuttingDown));
    assert_eq!(bench.host.living().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn when_nobody_can_call_any_more_work_in_flight_is_finished() {
    let bench = Bench::new().await;
    bench.host.delay(Step::Freeze, Duration::from_secs(2));
    let id = bench.create().await;
    let mut seen = bench.sandboxes.seen(&id).unwrap();
    let paused = begin(&bench, {
        let id = id.clone();
        |all| async move { all.pause(&id).await }
    });
    bench.until(&id, Phase::Pausing).await;
    paused.abort();
    drop(bench.sandboxes);
    while seen.changed().await.is_ok() {}
    assert_eq!(seen.borrow().sandbox.status.phase, Phase::Paused);
    assert!(bench.host.is_frozen_now(&id));
}

#[tokio::test(start_paused = true)]
async fn who_labels_a_sandbox_in_the_making_does_not_wait_and_does_not_answer_its_maker() {
    let bench = Bench::new().await;
    bench.host.delay(Step::Launch, Duration::from_secs(2));
    let made = begin(&bench, |all| async move { all.create(spec_for(Duration::from_secs(600))).await });
    let id = loop {
        tokio::task::yield_now().await;
        let pending = Filter { phases: vec![Phase::Pending], ..Filter::default() };
        if let Some(sandbox) = bench.sandboxes.list(&pending, 1, 1).items.first() {
            break sandbox.id.clone();
        }
    };
    let patch = BTreeMap::from([("name".to_owned(), Some("web".to_owned()))]);
    let patched = bench.sandboxes.patch_metadata(&id, patch).await.unwrap();
    assert_eq!(patched.status.phase, Phase::Pending);
    let made = made.await.unwrap().unwrap();
    assert_eq!((made.status.phase, made.spec.metadata["name"].as_str()), (Phase::Running, "web"));
    bench.check_host();
}
