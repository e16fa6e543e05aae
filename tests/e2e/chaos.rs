//! A daemon that is killed at random moments of a lively time: what was there is there or gone, and nothing is left.
//! `scripts/bench --chaos` does the same for longer.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Client, Daemon, until};

const KILLS: usize = 10;

#[test]
fn a_daemon_that_is_killed_again_and_again_leaks_nothing() {
    let Some(mut daemon) = Daemon::start("a_daemon_that_is_killed_again_and_again_leaks_nothing") else { return };
    let before = daemon.settled();
    let (client, request) = (daemon.client.clone(), daemon.request(&["sleep", "1000000"]).to_string());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    live(&client, request.as_bytes());
                }
            });
        }
        for _ in 0..KILLS {
            pass_the_time(Duration::from_millis(20 + random() % 200), &client);
            daemon.kill();
            daemon.launch();
        }
        done.store(true, Ordering::Relaxed);
    });
    delete_all(&client);
    until("as before", || {
        let changes = daemon.snapshot().differences(&before);
        let real: Vec<&String> = changes.iter().filter(|change| !change.starts_with("descriptors: ")).collect();
        if real.is_empty() { Ok(()) } else { Err(format!("{real:#?}")) }
    });
}

/// One life, in which any call may fail because nobody is there.
fn live(client: &Client, request: &[u8]) {
    let Ok(made) = client.try_ask("POST", "/v1/sandboxes", request) else { return };
    if made.status != 202 {
        return;
    }
    let body: serde_json::Value = serde_json::from_slice(&made.body).unwrap_or_default();
    let Some(id) = body["id"].as_str() else { return };
    for verb in ["pause", "resume"] {
        drop(client.try_ask("POST", &format!("/v1/sandboxes/{id}/{verb}"), b""));
    }
    drop(client.try_ask("DELETE", &format!("/v1/sandboxes/{id}"), b""));
}

/// Until the time is over the daemon is asked, which says when it has gone by itself.
fn pass_the_time(time: Duration, client: &Client) {
    let start = Instant::now();
    while start.elapsed() < time {
        client.get("/health").expect(200);
    }
}

/// Deletes what lives, and waits until nobody knows it any more.
fn delete_all(client: &Client) {
    until("empty", || {
        let page = client.get("/v1/sandboxes?pageSize=200").expect(200).json();
        let items = page["items"].as_array().cloned().unwrap_or_default();
        for item in &items {
            drop(client.delete(&format!("/v1/sandboxes/{}", item["id"].as_str().unwrap_or_default())));
        }
        let query = "/v1/sandboxes?state=Stopping&state=Terminated&state=Failed&state=Running";
        let left = client.get(query).expect(200).json();
        if items.is_empty() && left["pagination"]["totalItems"] == 0 { Ok(()) } else { Err(left.to_string()) }
    });
}

/// A random number, from the keys that the standard library draws for its maps.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
