//! A daemon that is killed at any moment, again and again: nothing leaks, nothing that was acknowledged is lost.
//!
//! Each daemon has a runtime of its own. Dropping it drops every task wherever it waits, as `kill -9` would; the record
//! store and the pretended host stay.

use std::sync::Mutex;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use super::chaos::{Dice, end_all, unreliable};
use super::*;

/// What callers were told before the daemon was killed.
#[derive(Default)]
struct Told {
    /// Running at some time, and no delete was asked for since.
    alive: BTreeMap<SandboxId, ()>,
    /// A delete was acknowledged.
    deleted: Vec<SandboxId>,
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// A life of a daemon: it starts, checks what the last one promised, serves random calls, and is killed.
async fn daemon(host: Arc<FakeHost>, state: Arc<TempDir>, told: Arc<Mutex<Told>>, seed: u64) {
    let mut dice = Dice(seed);
    let bench = Bench::on(host, state, LifecycleConfig::default()).await;
    check_promises(&bench, &told);
    let mut callers = JoinSet::new();
    for caller in 0..8 {
        let (sandboxes, host, told) = (bench.sandboxes.clone(), Arc::clone(&bench.host), Arc::clone(&told));
        let dice = Dice(seed * 1000 + caller);
        callers.spawn(async move { call_for_ever(&sandboxes, &host, &told, dice).await });
    }
    tokio::time::sleep(Duration::from_millis(dice.roll(400))).await;
}

async fn call_for_ever(sandboxes: &Sandboxes, host: &FakeHost, told: &Mutex<Told>, mut dice: Dice) {
    loop {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let known: Vec<SandboxId> = told.lock().unwrap().alive.keys().cloned().collect();
        let count = known.len() as u64;
        if count < 10 || dice.roll(10) == 0 {
            let created = sandboxes.create(spec()).await.unwrap();
            told.lock().unwrap().alive.insert(created.id, ());
            continue;
        }
        let id = &known[usize::try_from(dice.roll(count)).unwrap()];
        if dice.roll(6) == 0 {
            // Whether a delete that is not answered happened is not known.
            told.lock().unwrap().alive.remove(id);
            if sandboxes.delete(id).await.is_ok() {
                told.lock().unwrap().deleted.push(id.clone());
            }
        } else {
            operate_without_delete(sandboxes, host, id, &mut dice).await;
        }
    }
}

async fn operate_without_delete(sandboxes: &Sandboxes, host: &FakeHost, id: &SandboxId, dice: &mut Dice) {
    match dice.roll(4) {
        0 => drop(sandboxes.pause(id).await),
        1 => drop(sandboxes.resume(id).await),
        2 => host.exit(id, 1),
        _ => drop(sandboxes.patch_metadata(id, BTreeMap::new()).await),
    }
}

/// A new daemon knows everything that callers were told, and has it in a state that the host agrees with.
fn check_promises(bench: &Bench, told: &Mutex<Told>) {
    check_settled(bench);
    let told = told.lock().unwrap();
    for id in told.alive.keys() {
        let status = bench.sandboxes.get(id).unwrap_or_else(|| panic!("{id} was acknowledged and is lost")).status;
        let frozen = bench.host.is_frozen_now(id);
        let lives = bench.host.living().contains(id);
        match status.phase {
            Phase::Running => assert!(lives && !frozen, "{id} is said to run"),
            Phase::Paused => {
                assert!(lives && frozen || status.reason == Reason::PauseFailed, "{id} is said to be paused")
            }
            Phase::Failed | Phase::Terminated => {
                let expected = [Reason::EntrypointExited, Reason::StartFailed];
                assert!(expected.contains(&status.reason), "{id}: {status:?}");
            }
            other => panic!("{id} is {other} after the start: {status:?}"),
        }
    }
    for id in &told.deleted {
        let phase = bench.phase(id);
        assert!(matches!(phase, None | Some(Phase::Stopping | Phase::Terminated)), "{id} was deleted and is {phase:?}");
    }
}

#[test]
fn killed_at_random_moments() {
    for seed in 0..2 {
        let state = Arc::new(TempDir::new().unwrap());
        let told = Arc::new(Mutex::new(Told::default()));
        let mut host = Arc::new(FakeHost::new());
        host.script(unreliable_only_in_cleaning(Dice(seed)));
        for life in 0..20 {
            let runtime = runtime();
            let _inside = runtime.enter();
            host = Arc::new(host.restarted());
            runtime.block_on(daemon(Arc::clone(&host), Arc::clone(&state), Arc::clone(&told), seed * 100 + life));
        }
        let runtime = runtime();
        runtime.block_on(async {
            let bench = Bench::on(Arc::new(host.restarted()), state, LifecycleConfig::default()).await;
            check_promises(&bench, &told);
            end_all(&bench).await;
        });
    }
}

/// Slow everywhere, so that a daemon can be killed in the middle of everything.
fn unreliable_only_in_cleaning(dice: Dice) -> impl FnMut(Step, &SandboxId) -> Behaviour + Send + 'static {
    let mut unreliable = unreliable(dice);
    move |step, id| {
        let mut behaviour = unreliable(step, id);
        if !matches!(step, Step::Stop | Step::Destroy) {
            behaviour.fail = None;
        }
        behaviour
    }
}

#[test]
fn killed_between_any_two_turns_of_the_runtime() {
    // Everything takes 6 ms here, so that 1 ms steps of the moment of death meet each half-made thing.
    for death in 0..60 {
        let state = Arc::new(TempDir::new().unwrap());
        let host = Arc::new(FakeHost::new());
        for step in Step::ALL {
            host.delay(step, Duration::from_millis(6));
        }
        runtime().block_on(async {
            let bench = Bench::on(Arc::clone(&host), Arc::clone(&state), LifecycleConfig::default()).await;
            tokio::time::timeout(Duration::from_millis(death), one_life(&bench)).await.ok();
        });
        runtime().block_on(async {
            let bench = Bench::on(Arc::new(host.restarted()), state, LifecycleConfig::default()).await;
            check_settled(&bench);
            end_all(&bench).await;
        });
    }
}

/// When a daemon serves, nobody is on the way to somewhere, and only who runs or is paused has processes.
fn check_settled(bench: &Bench) {
    let filter = Filter { phases: Phase::ALL.to_vec(), ..Filter::default() };
    let listed = bench.sandboxes.list(&filter, 1, u32::MAX).items;
    for sandbox in &listed {
        let status = &sandbox.status;
        let in_transition = matches!(status.phase, Phase::Pending | Phase::Pausing | Phase::Resuming);
        assert!(!in_transition, "{status:?}");
        let lives = bench.host.living().contains(&sandbox.id);
        assert_eq!(lives, matches!(status.phase, Phase::Running | Phase::Paused), "{status:?}");
    }
    assert!(bench.host.living().len() <= listed.len(), "everything that lives is known");
}

async fn one_life(bench: &Bench) {
    let id = bench.create().await;
    bench.sandboxes.pause(&id).await.unwrap();
    bench.sandboxes.resume(&id).await.unwrap();
    bench.host.exit(&id, 1);
    bench.until(&id, Phase::Failed).await;
    bench.sandboxes.delete(&id).await.unwrap();
    bench.until_gone(&id).await;
}
