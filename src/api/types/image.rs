//! Images as they are on the wire.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::api::time;
use crate::image::{Image, ImageConfig, ImageStore, Layer};

#[derive(Debug, Serialize)]
pub struct ImageList {
    pub items: Vec<ImageDocument>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageDocument {
    name: String,
    digest: String,
    id: String,
    architecture: String,
    /// Unpacked bytes.
    size: u64,
    /// Of them, those that other images have as well.
    shared_size: u64,
    /// The sandboxes that are made of it.
    used_by: Vec<String>,
    /// A layer of it was set aside.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    damaged: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    imported_at: String,
    config: ImageConfigBody,
    layers: Vec<LayerBody>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ImageConfigBody {
    env: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    user: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    working_dir: String,
    entrypoint: Vec<String>,
    cmd: Vec<String>,
    labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    stop_signal: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LayerBody {
    diff_id: String,
    size: u64,
    entries: u64,
    #[serde(skip_serializing_if = "is_zero")]
    skipped_devices: u64,
    #[serde(skip_serializing_if = "is_zero")]
    dropped_xattrs: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl ImageDocument {
    pub fn of(image: &Image, store: &ImageStore) -> Self {
        Self {
            shared_size: store.shared_size(image),
            used_by: store.holders(image),
            damaged: store.is_damaged(image),
            name: image.name.clone(),
            digest: image.digest.clone(),
            id: image.id.clone(),
            architecture: image.architecture.clone(),
            size: image.size,
            created: image.created.map(time::write),
            imported_at: time::write(image.imported_at),
            config: ImageConfigBody::of(&image.config),
            layers: image.layers.iter().map(LayerBody::of).collect(),
        }
    }
}

impl ImageConfigBody {
    fn of(config: &ImageConfig) -> Self {
        let config = config.clone();
        Self {
            env: config.env.into_iter().collect(),
            user: config.user,
            working_dir: config.working_dir,
            entrypoint: config.entrypoint,
            cmd: config.cmd,
            labels: config.labels,
            stop_signal: config.stop_signal,
        }
    }
}

impl LayerBody {
    fn of(layer: &Layer) -> Self {
        Self {
            diff_id: layer.diff_id.clone(),
            size: layer.size,
            entries: layer.entries,
            skipped_devices: layer.skipped_devices,
            dropped_xattrs: layer.dropped_xattrs,
        }
    }
}
