//! Many callers, many sandboxes, a host that fails and dawdles: the state is always legal and nobody gets stuck.

use std::sync::Mutex;

use tokio::task::JoinSet;

use super::*;

const SANDBOXES: usize = 50;
const OPERATIONS: u64 = 10_000;

/// Numbers that look random and are the same each time (splitmix64).
pub(super) struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}

/// A host whose every tenth call fails, and that takes up to 50 ms.
pub(super) fn unreliable(mut dice: Dice) -> impl FnMut(Step, &SandboxId) -> Behaviour + Send + 'static {
    move |step, _| {
        let fails = dice.roll(10) == 0 && !matches!(step, Step::Adopt);
        let behaviour = if fails { Behaviour::failing(step) } else { Behaviour::default() };
        Behaviour { delay: Duration::from_millis(dice.roll(50)), ..behaviour }
    }
}

/// One random call. What a denial claims must fit what denials may say; anything else is a fault.
async fn operate(sandboxes: &Sandboxes, host: &FakeHost, id: &SandboxId, dice: &mut Dice) {
    let later = chrono::DateTime::from_timestamp_nanos(host.unix_nanos()) + chrono::TimeDelta::days(1);
    let done = match dice.roll(100) {
        0..30 => sandboxes.pause(id).await,
        30..60 => sandboxes.resume(id).await,
        60..70 => sandboxes.renew(id, later).await.map(drop),
        70..80 => {
            sandboxes.patch_metadata(id, BTreeMap::from([("n".to_owned(), Some("1".to_owned()))])).await.map(drop)
        }
        80..90 => sandboxes.signal(id, 1).await,
        90..96 => {
            assert!(sandboxes.list(&Filter::default(), 1, 200).items.len() <= 200);
            Ok(())
        }
        96..98 => {
            host.exit(id, i32::from(dice.roll(2) == 0));
            Ok(())
        }
        _ => sandboxes.delete(id).await,
    };
    if let Err(Denial::Store(_) | Denial::Busy { .. } | Denial::ImageNotFound { .. }) = done {
        panic!("{done:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_random_calls_leave_everybody_legal() {
    let bench = Bench::with(LifecycleConfig { allow_shorter_expiration: true, ..LifecycleConfig::default() }).await;
    bench.host.script(unreliable(Dice(7)));
    let ids = Arc::new(Mutex::new(Vec::new()));
    for number in 0..SANDBOXES {
        let spec = if number % 2 == 0 { spec() } else { spec_for(Duration::from_secs(60)) };
        let created = bench.sandboxes.create(spec).await.unwrap();
        ids.lock().unwrap().push(created.id);
    }
    let mut callers = JoinSet::new();
    for caller in 0..100 {
        let (sandboxes, host, ids) = (bench.sandboxes.clone(), Arc::clone(&bench.host), Arc::clone(&ids));
        callers.spawn(async move {
            let mut dice = Dice(caller);
            for _ in 0..OPERATIONS / 100 {
                let place = usize::try_from(dice.roll(SANDBOXES as u64)).unwrap();
                let id = ids.lock().unwrap()[place].clone();
                operate(&sandboxes, &host, &id, &mut dice).await;
                if sandboxes.get(&id).is_none_or(|sandbox| sandbox.status.phase == Phase::Terminated) {
                    let fresh = sandboxes.create(spec()).await.unwrap().id;
                    ids.lock().unwrap()[place] = fresh;
                }
            }
        });
    }
    let all = tokio::time::timeout(Duration::from_secs(3600), callers.join_all());
    all.await.expect("nobody gets stuck");
    end_all(&bench).await;
}

/// Deletes what is there, on a host that works again; nothing may be left of anybody.
pub(super) async fn end_all(bench: &Bench) {
    bench.host.script(|_, _| Behaviour::default());
    for sandbox in bench.sandboxes.list(&Filter::default(), 1, u32::MAX).items {
        let deleted = bench.sandboxes.delete(&sandbox.id).await;
        assert!(matches!(deleted, Ok(()) | Err(Denial::NotFound { .. })), "{deleted:?}");
    }
    // The longest rest between two attempts, and the retention.
    tokio::time::sleep(Duration::from_secs(150)).await;
    assert_eq!(bench.get_all(), 0);
    assert_eq!((bench.host.left_over(), bench.host.taken_ranges()), (vec![], 0));
    bench.check_host();
}
