//! Sandboxes whose image is not there yet.

use super::*;
use crate::image::Credentials;
use crate::model::Reason;
use crate::sandbox::Fetch;
use crate::sandbox::fake::Step;

const IMAGE: &str = "bivouac/base:latest";

#[tokio::test(start_paused = true)]
async fn a_sandbox_is_pending_at_once_and_runs_when_its_image_is_here() {
    let bench = Bench::new().await;
    bench.host.move_image_away(IMAGE);
    bench.host.delay(Step::Fetch, Duration::from_secs(600));
    let pending = bench.sandboxes.create(spec_for(Duration::from_secs(60))).await.unwrap();
    assert_eq!((pending.status.phase, pending.status.reason), (Phase::Pending, Reason::Provisioning));
    assert!(pending.status.message.contains("pulling bivouac/base:latest"), "{:?}", pending.status);
    tokio::time::sleep(Duration::from_secs(400)).await;
    let half = bench.get(&pending.id);
    assert_eq!(half.status.message, "pulling bivouac/base:latest: 1 of 2 layers");
    assert_eq!(half.status.phase, Phase::Pending, "its time does not count yet");
    let running = bench.until(&pending.id, Phase::Running).await;
    let left = running.expires_at.unwrap().timestamp_micros() - running.status.since_unix_nanos / 1000;
    assert!((59_000_000..=60_000_000).contains(&left), "{left}");
    bench.sandboxes.delete(&pending.id).await.unwrap();
    bench.until_gone(&pending.id).await;
    bench.check_host();
}

#[tokio::test(start_paused = true)]
async fn a_pull_that_fails_says_why_and_leaves_nothing() {
    let bench = Bench::new().await;
    bench.host.move_image_away(IMAGE);
    bench.host.fail(Step::Fetch, 1);
    let pending = bench.sandboxes.create(spec()).await.unwrap();
    let failed = bench.until(&pending.id, Phase::Failed).await;
    assert_eq!(failed.status.reason, Reason::ImagePullFailed);
    bench.sandboxes.delete(&pending.id).await.unwrap();
    bench.until_gone(&pending.id).await;
    assert_eq!((bench.host.left_over(), bench.host.taken_ranges()), (vec![], 0));
}

#[tokio::test(start_paused = true)]
async fn a_delete_gives_the_fetching_up() {
    let bench = Bench::new().await;
    bench.host.move_image_away(IMAGE);
    bench.host.delay(Step::Fetch, Duration::from_secs(1_000_000));
    let pending = bench.sandboxes.create(spec()).await.unwrap();
    bench.sandboxes.delete(&pending.id).await.unwrap();
    let gone = bench.until(&pending.id, Phase::Terminated).await;
    assert_eq!(gone.status.reason, Reason::UserDelete);
    bench.until_gone(&pending.id).await;
    assert_eq!((bench.host.left_over(), bench.host.taken_ranges()), (vec![], 0));
    assert_eq!(bench.host.violations(), [] as [String; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_stops_does_not_wait_for_an_image_and_the_next_one_goes_on() {
    let bench = Bench::new().await;
    bench.host.move_image_away(IMAGE);
    bench.host.delay(Step::Fetch, Duration::from_secs(1_000_000));
    let pending = bench.sandboxes.create(spec_for(Duration::from_secs(60))).await.unwrap();
    let bench = bench.restart().await;
    assert_eq!((bench.report.fetching, bench.get(&pending.id).status.phase), (1, Phase::Pending));
    let bench = bench.reboot().await;
    assert_eq!((bench.report.fetching, bench.get(&pending.id).status.phase), (1, Phase::Pending));
    bench.host.delay(Step::Fetch, Duration::from_secs(600));
    let bench = bench.restart().await;
    let running = bench.until(&pending.id, Phase::Running).await;
    let left = running.expires_at.unwrap().timestamp_micros() - running.status.since_unix_nanos / 1000;
    assert!((59_000_000..=60_000_000).contains(&left), "its time counts from now: {left}");
    bench.sandboxes.delete(&pending.id).await.unwrap();
    bench.until_gone(&pending.id).await;
    bench.check_host();
    assert_eq!((bench.host.left_over(), bench.host.taken_ranges()), (vec![], 0));
}

#[tokio::test(start_paused = true)]
async fn an_image_that_was_fetched_meanwhile_is_taken() {
    let bench = Bench::new().await;
    bench.host.move_image_away(IMAGE);
    bench.host.delay(Step::Fetch, Duration::from_secs(100));
    let (first, second) =
        (bench.sandboxes.create(spec()).await.unwrap(), bench.sandboxes.create(spec()).await.unwrap());
    bench.until(&first.id, Phase::Running).await;
    bench.host.fail(Step::Fetch, usize::MAX);
    let bench = bench.restart().await;
    bench.until(&second.id, Phase::Running).await;
}

#[tokio::test(start_paused = true)]
async fn credentials_of_a_request_do_not_outlive_the_daemon() {
    let bench = Bench::new().await;
    bench.host.move_image_away(IMAGE);
    bench.host.delay(Step::Fetch, Duration::from_secs(1_000_000));
    let fetch = Fetch { policy: None, credentials: Some(Credentials::new("user", "secret").unwrap()) };
    let pending = bench.sandboxes.create_fetching(spec(), fetch).await.unwrap();
    let bench = bench.restart().await;
    let failed = bench.get(&pending.id).status;
    assert_eq!((failed.phase, failed.reason), (Phase::Failed, Reason::ImagePullFailed));
    assert!(failed.message.contains("create the sandbox again"), "{}", failed.message);
}
