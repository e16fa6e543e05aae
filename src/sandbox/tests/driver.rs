//! One sandbox and its driver.

use tokio::task::JoinHandle;

use super::*;

/// Starts a call that is answered later.
fn begin<F>(bench: &Bench, call: impl FnOnce(Sandboxes) -> F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(call(bench.sandboxes.clone()))
}

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
async fn a_paused_sandbox_expires_at_its_hour() {
    let bench = Bench::new().await;
    let began = tokio::time::Instant::now();
    let id = bench.sandboxes.create(spec_for(Duration::from_secs(600))).await.unwrap().id;
    bench.sandboxes.pause(&id).await.unwrap();
    let gone = bench.until(&id, Phase::Terminated).await;
    assert_eq!(gone.status.reason, Reason::TtlExpiry);
    assert_eq!(began.elapsed().as_secs(), 600);
    assert_eq!(bench.host.left_over(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_step_of_the_wall_clock_changes_no_life() {
    let year = 365 * 86_400 * 1_000_000_000;
    for step in [-year, year] {
        let bench = Bench::new().await;
        let began = tokio::time::Instant::now();
        let id = bench.sandboxes.create(spec_for(Duration::from_secs(600))).await.unwrap().id;
        tokio::time::sleep(Duration::from_secs(100)).await;
        bench.host.step_wall_clock(step);
        bench.until(&id, Phase::Terminated).await;
        assert_eq!(began.elapsed().as_secs(), 600, "{step}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_slept_notices_within_half_a_minute() {
    let bench = Bench::new().await;
    let id = bench.sandboxes.create(spec_for(Duration::from_secs(7200))).await.unwrap().id;
    bench.host.suspend(Duration::from_secs(7200));
    let woke = tokio::time::Instant::now();
    bench.until(&id, Phase::Terminated).await;
    assert!(woke.elapsed() <= Duration::from_secs(30), "{:?}", woke.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_renewal_moves_the_hour() {
    let bench = Bench::new().await;
    let began = tokio::time::Instant::now();
    let created = bench.sandboxes.create(spec_for(Duration::from_secs(60))).await.unwrap();
    let (id, first) = (created.id, created.expires_at.unwrap());
    let later = first + chrono::TimeDelta::seconds(100);
    assert_eq!(bench.sandboxes.renew(&id, later).await, Ok(later));
    assert_eq!(bench.sandboxes.renew(&id, first).await, Err(Denial::ExpiryNotLater { current: later }));
    assert_eq!(bench.get(&id).expires_at, Some(later));
    bench.until(&id, Phase::Terminated).await;
    assert_eq!(began.elapsed().as_secs(), 160);
}

#[tokio::test(start_paused = true)]
async fn absurd_times_are_long_lives() {
    let bench = Bench::new().await;
    let id = bench.sandboxes.create(spec_for(Duration::MAX)).await.unwrap().id;
    tokio::time::sleep(Duration::from_secs(86_400)).await;
    assert_eq!(bench.phase(&id), Some(Phase::Running));
    assert_eq!(bench.get(&id).expires_at.unwrap().to_rfc3339(), "9999-12-31T23:59:59.999999+00:00");
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
async fn a_failed_freeze_is_undone_and_told() {
    let bench = Bench::new().await;
    let id = bench.create().await;
    bench.host.fail(Step::Freeze, 1);
    let Err(Denial::Host(error)) = bench.sandboxes.pause(&id).await else { panic!("the pause should fail") };
    let status = bench.get(&id).status;
    assert_eq!((status.phase, status.reason), (Phase::Running, Reason::PauseFailed));
    assert!(status.message.contains(&error.message), "{}", status.message);
    assert!(!bench.host.is_frozen_now(&id));
    bench.sandboxes.pause(&id).await.unwrap();
    bench.host.fail(Step::Thaw, 1);
    assert!(matches!(bench.sandboxes.resume(&id).await, Err(Denial::Host(_))));
    assert_eq!(bench.get(&id).status.reason, Reason::ResumeFailed);
    assert_eq!(bench.sandboxes.resume(&id).await, Ok(()), "a fault is told once");
}

#[tokio::test(start_paused = true)]
async fn a_launch_that_fails_leaves_a_record_that_says_why() {
    let bench = Bench::new().await;
    bench.host.fail(Step::Launch, 1);
    let failed = bench.sandboxes.create(spec_for(Duration::from_secs(60))).await.unwrap();
    assert_eq!((failed.status.phase, failed.status.reason), (Phase::Failed, Reason::StartFailed));
    let gone = bench.until(&failed.id, Phase::Terminated).await;
    assert_eq!(gone.status.reason, Reason::TtlExpiry);
    assert_eq!((bench.host.left_over(), bench.host.taken_ranges()), (vec![], 0));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_image_leaves_nothing() {
    let bench = Bench::new().await;
    bench.host.forget_image("bivouac/base:latest");
    let denied = bench.sandboxes.create(spec()).await;
    assert!(matches!(denied, Err(Denial::ImageNotFound { .. })), "{denied:?}");
    assert_eq!(bench.sandboxes.list(&Filter::default(), 1, 20).total, 0);
    assert_eq!(bench.host.taken_ranges(), 0);
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
async fn a_client_that_hangs_up_leaves_a_whole_sandbox() {
    let bench = Bench::new().await;
    bench.host.delay(Step::Launch, Duration::from_secs(6));
    let created = begin(&bench, |all| async move { all.create(spec()).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    created.abort();
    let id = bench.sandboxes.list(&Filter::default(), 1, 20).items[0].id.clone();
    bench.until(&id, Phase::Running).await;
    bench.host.delay(Step::Freeze, Duration::from_secs(6));
    let paused = begin(&bench, {
        let id = id.clone();
        |all| async move { all.pause(&id).await }
    });
    bench.until(&id, Phase::Pausing).await;
    paused.abort();
    bench.until(&id, Phase::Paused).await;
}

#[tokio::test(start_paused = true)]
async fn clean_up_that_fails_is_tried_until_it_works() {
    let bench = Bench::new().await;
    let id = bench.create().await;
    bench.host.fail(Step::Destroy, 12);
    bench.sandboxes.delete(&id).await.unwrap();
    tokio::time::sleep(Duration::from_secs(50)).await;
    let status = bench.get(&id).status;
    assert_eq!(status.phase, Phase::Stopping);
    assert!(status.message.contains("EIO"), "{}", status.message);
    bench.until(&id, Phase::Terminated).await;
    bench.check_host();
}

#[tokio::test(start_paused = true)]
async fn a_delete_cuts_short_the_rest_between_attempts() {
    let bench = Bench::new().await;
    let id = bench.create().await;
    bench.host.fail(Step::Stop, usize::MAX);
    bench.host.exit(&id, 1);
    bench.until(&id, Phase::Failed).await;
    tokio::time::sleep(Duration::from_secs(1000)).await;
    let asked = tokio::time::Instant::now();
    bench.sandboxes.delete(&id).await.unwrap();
    bench.until(&id, Phase::Terminated).await;
    assert!(asked.elapsed() < Duration::from_millis(10), "{:?}", asked.elapsed());
    bench.check_host();
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_panics_takes_its_sandbox_over_again() {
    let bench = Bench::new().await;
    let id = bench.create().await;
    let mut left = 3;
    bench.host.script(move |step, _| {
        let panic = left > 0 && matches!(step, Step::Freeze | Step::Adopt);
        left -= i32::from(panic);
        Behaviour { panic, ..Behaviour::default() }
    });
    assert_eq!(bench.sandboxes.pause(&id).await, Err(Denial::Busy { id: id.to_string() }));
    assert_eq!(bench.until(&id, Phase::Paused).await.status.reason, Reason::UserPause, "which is what was recorded");
    bench.sandboxes.resume(&id).await.unwrap();
    bench.host.exit(&id, 0);
    assert_eq!(bench.sandboxes.wait(&id).await.unwrap().status.exit, Some(Exit::Code(0)));
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
    bench.sandboxes.shutdown().await;
    assert_eq!(paused.await.unwrap(), Ok(()));
    assert_eq!(bench.sandboxes.pause(&other).await, Err(Denial::ShuttingDown));
    assert_eq!(bench.sandboxes.create(spec()).await, Err(Denial::ShuttingDown));
    assert_eq!(bench.host.living().len(), 2);
}
