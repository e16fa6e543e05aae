//! When its time is up.

use super::*;

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
