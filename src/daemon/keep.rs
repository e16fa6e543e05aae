//! The daemon's own pruning of images, by the section `[images]`.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tracing::info;

use crate::image::{ImageStore, KeepPolicy};

/// Often enough that a disk does not fill up between two looks at it.
const EVERY: Duration = Duration::from_secs(10);

/// Applies the policy until `stop` says so. Recorded sandboxes must hold their images by now.
pub async fn keep(images: Arc<ImageStore>, policy: KeepPolicy, mut stop: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            // An error means that whoever could tell is gone, which is the same.
            _ = stop.wait_for(|stop| *stop) => break,
        }
        let images = Arc::clone(&images);
        let kept = tokio::task::spawn_blocking(move || images.keep(&policy, Utc::now())).await;
        for image in kept.unwrap_or_default() {
            info!(image = image.name, digest = image.digest, size = image.size, "removed an image that nobody uses");
        }
    }
    drop(tokio::task::spawn_blocking(move || images.save_uses()).await);
}
