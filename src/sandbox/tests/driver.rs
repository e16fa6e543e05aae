//! One sandbox and its driver.

use super::*;

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
    assert_eq!(bench.sandboxes.delete(&id).await, Err(Denial::NotFound { id: id.to_string() }));
    let gone = bench.until(&id, Phase::Terminated).await;
    assert_eq!(gone.status.reason, Reason::UserDelete);
    assert_eq!((bench.host.left_over(), bench.host.taken_ranges()), (vec![], 0));
    bench.until_gone(&id).await;
    bench.check_host();
}
