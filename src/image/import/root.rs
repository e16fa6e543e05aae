//! A plain root tar: one layer, and a config that is ours.

use serde_json::json;

use super::Plan;
use super::layers::{self, Done, Job};
use crate::image::source::RootTar;
use crate::image::store::Pins;
use crate::image::{Digest, ImageConfig, ImageError, ImageStore, Progress};

pub fn import(
    store: &ImageStore,
    pins: &mut Pins<'_>,
    root: RootTar<'_>,
    config: ImageConfig,
    progress: &dyn Progress,
) -> Result<(Plan, Done), ImageError> {
    let job = Job {
        at: "the root".into(),
        diff_id: None,
        descriptor: None,
        open: Box::new(|| root.raw),
        compression: root.compression,
        size: root.total,
    };
    let done = layers::unpack_all((store, super::FROM_DISK), pins, vec![job], progress)?;
    let diff_ids: Vec<_> = done.layers.iter().map(|layer| layer.diff_id.clone()).collect();
    let digest = digest(&config, &diff_ids);
    let architecture = super::choose::host_architecture().to_owned();
    Ok((Plan { digest, id: digest, config, architecture, created: None, jobs: Vec::new() }, done))
}

/// Of the config document that an image of this root and config would have: the same input gives the same image.
fn digest(config: &ImageConfig, diff_ids: &[String]) -> Digest {
    let env: Vec<_> = config.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let document = json!({
        "architecture": super::choose::host_architecture(),
        "os": "linux",
        "config": {
            "Env": env,
            "User": config.user,
            "WorkingDir": config.working_dir,
            "Entrypoint": config.entrypoint,
            "Cmd": config.cmd,
            "Labels": config.labels,
            "StopSignal": config.stop_signal,
        },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    Digest::of(document.to_string().as_bytes())
}
