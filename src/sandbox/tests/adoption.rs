//! A new daemon finds what an earlier one left.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_restart_changes_nobodys_state() {
    let bench = Bench::new().await;
    let running = bench.sandboxes.create(spec_for(Duration::from_secs(600))).await.unwrap();
    let paused = bench.create().await;
    bench.sandboxes.pause(&paused).await.unwrap();
    let ended = bench.create().await;
    bench.host.exit(&ended, 3);
    bench.until(&ended, Phase::Failed).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = bench.sandboxes.list(&Filter::default(), 1, 20);
    let bench = bench.restart().await;
    assert_eq!(bench.report, StartReport { adopted: 2, kept: 1, ..StartReport::default() });
    assert_eq!(bench.sandboxes.list(&Filter::default(), 1, 20), before);
    bench.sandboxes.resume(&paused).await.unwrap();
    assert_eq!(bench.until(&running.id, Phase::Terminated).await.status.reason, Reason::TtlExpiry);
    bench.host.exit(&paused, 0);
    assert_eq!(bench.sandboxes.wait(&paused).await.unwrap().status.exit, Some(Exit::Code(0)));
    bench.check_host();
}

#[tokio::test(start_paused = true)]
async fn what_expired_meanwhile_is_ended_at_once() {
    let bench = Bench::new().await;
    let id = bench.sandboxes.create(spec_for(Duration::from_secs(60))).await.unwrap().id;
    bench.host.suspend(Duration::from_secs(61));
    let bench = bench.restart().await;
    assert_eq!(bench.report.expired, 1);
    assert_eq!(bench.get(&id).status.reason, Reason::TtlExpiry);
    assert_eq!((bench.phase(&id), bench.host.left_over()), (Some(Phase::Terminated), vec![]));
    bench.check_host();
}

#[tokio::test(start_paused = true)]
async fn a_reboot_ends_everybody_and_adopts_nobody() {
    let bench = Bench::new().await;
    let running = bench.sandboxes.create(spec_for(Duration::from_secs(600))).await.unwrap();
    let paused = bench.create().await;
    bench.sandboxes.pause(&paused).await.unwrap();
    let bench = bench.reboot().await;
    assert_eq!(bench.report, StartReport { rebooted: 2, ..StartReport::default() });
    for id in [&running.id, &paused] {
        let status = bench.get(id).status;
        assert_eq!((status.phase, status.reason), (Phase::Failed, Reason::HostRebooted));
        assert_eq!(status.exit, Some(Exit::Unknown));
    }
    assert!(bench.host.left_over().iter().all(|part| part.ends_with(" logs")), "{:?}", bench.host.left_over());
    assert_eq!(bench.get(&running.id).expires_at, running.expires_at);
    let began = tokio::time::Instant::now();
    bench.until(&running.id, Phase::Terminated).await;
    let lived = began.elapsed().as_secs();
    assert!((598..=600).contains(&lived), "the wall clock still ends it: {lived}");
    bench.check_host();
}

#[test]
fn what_was_being_made_is_not_kept() {
    let (host, state) = (Arc::new(FakeHost::new()), Arc::new(TempDir::new().unwrap()));
    host.delay(Step::Launch, Duration::from_secs(60));
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    // Dropping the runtime is the end of the first daemon, in the middle of the launch.
    runtime().block_on(async {
        let bench = Bench::on(Arc::clone(&host), Arc::clone(&state), LifecycleConfig::default()).await;
        let create = bench.sandboxes.create(spec());
        assert!(tokio::time::timeout(Duration::from_secs(30), create).await.is_err());
    });
    assert!(!host.left_over().is_empty());
    runtime().block_on(async {
        let bench = Bench::on(Arc::new(host.restarted()), state, LifecycleConfig::default()).await;
        assert_eq!(bench.report, StartReport { unmade: 1, ..StartReport::default() });
        let status = bench.sandboxes.list(&Filter::default(), 1, 1).items[0].status.clone();
        assert_eq!((status.phase, status.reason), (Phase::Failed, Reason::StartFailed));
        assert!(status.message.contains("daemon restarted"), "{}", status.message);
        assert_eq!(bench.host.living(), []);
    });
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_found_is_lost_and_said_so() {
    let bench = Bench::new().await;
    let id = bench.create().await;
    bench.host.fail(Step::Adopt, 1);
    let bench = bench.restart().await;
    assert_eq!(bench.report.lost, 1);
    let status = bench.get(&id).status;
    assert_eq!((status.phase, status.reason, status.exit), (Phase::Failed, Reason::Lost, Some(Exit::Unknown)));
    assert_eq!(bench.host.left_over(), [format!("{id} logs")]);
    bench.check_host();
}

#[tokio::test(start_paused = true)]
async fn what_was_meant_decides_about_a_frozen_sandbox() {
    let bench = Bench::new().await;
    let (running, paused) = (bench.create().await, bench.create().await);
    bench.sandboxes.pause(&paused).await.unwrap();
    bench.sandboxes.shutdown().await;
    // Somebody else froze the one and thawed the other while no daemon was there.
    bench.host.freeze(&running).await.unwrap();
    bench.host.thaw(&paused).await.unwrap();
    let bench = bench.restart().await;
    assert_eq!((bench.phase(&running), bench.phase(&paused)), (Some(Phase::Running), Some(Phase::Paused)));
    assert!(!bench.host.is_frozen_now(&running) && bench.host.is_frozen_now(&paused));
}

#[tokio::test(start_paused = true)]
async fn a_tombstone_outlives_a_restart_but_not_its_time() {
    let bench = Bench::new().await;
    let id = bench.create().await;
    bench.sandboxes.delete(&id).await.unwrap();
    bench.until(&id, Phase::Terminated).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let bench = bench.restart().await;
    let began = tokio::time::Instant::now();
    assert_eq!(bench.phase(&id), Some(Phase::Terminated));
    assert_eq!(bench.sandboxes.delete(&id).await, Err(Denial::NotFound { id: id.to_string() }));
    bench.until_gone(&id).await;
    assert!(began.elapsed() <= Duration::from_secs(31), "{:?}", began.elapsed());
    let bench = bench.restart().await;
    assert_eq!((bench.get_all(), bench.report), (0, StartReport::default()));
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_was_interrupted_is_finished() {
    let bench = Bench::new().await;
    let id = bench.create().await;
    bench.host.fail(Step::Destroy, usize::MAX);
    bench.sandboxes.delete(&id).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    bench.host.fail(Step::Destroy, 0);
    let bench = bench.restart().await;
    assert_eq!((bench.phase(&id), bench.host.left_over()), (Some(Phase::Terminated), vec![]));
    assert_eq!(bench.host.taken_ranges(), 0);
    bench.check_host();
}

#[tokio::test(start_paused = true)]
async fn what_has_no_record_is_swept() {
    let bench = Bench::new().await;
    let id = bench.create().await;
    let Reservation { id: stranger, base } = bench.host.reserve().await.unwrap();
    bench.host.launch(&stranger, base, &spec()).await.unwrap();
    let bench = bench.restart().await;
    assert_eq!(bench.report.swept, [stranger.to_string()]);
    assert_eq!(bench.host.living(), [id]);
}

#[tokio::test(start_paused = true)]
async fn many_are_adopted_at_once() {
    let bench = Bench::new().await;
    for _ in 0..1000 {
        bench.create().await;
    }
    bench.host.delay(Step::Adopt, Duration::from_millis(10));
    let began = tokio::time::Instant::now();
    let bench = bench.restart().await;
    assert_eq!(bench.report.adopted, 1000);
    assert!(began.elapsed() < Duration::from_millis(400), "{:?}", began.elapsed());
    bench.check_host();
}
