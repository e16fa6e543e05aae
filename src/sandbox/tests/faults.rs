//! A host that fails, callers that go away, drivers that panic.

use super::*;

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
async fn a_full_disk_takes_no_more_sandboxes() {
    let bench = Bench::new().await;
    bench.host.fill_disk(true);
    let denied = bench.sandboxes.create(spec()).await;
    assert!(matches!(denied, Err(Denial::NoRoom(_))), "{denied:?}");
    assert_eq!(bench.sandboxes.list(&Filter::default(), 1, 20).total, 0);
    assert_eq!(bench.host.taken_ranges(), 0);
    bench.host.fill_disk(false);
    assert_eq!(bench.sandboxes.create(spec()).await.unwrap().status.phase, Phase::Running);
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
