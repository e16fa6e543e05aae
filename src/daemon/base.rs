//! The image that is always there: `bivouac/base`, a small busybox root.
//!
//! It is made once, when the program is built (`scripts/base-image`), and lies as a tar beside it.

use std::path::{Path, PathBuf};

use tracing::{info, warn};

use crate::image::{ImageStore, NoProgress, Source};

/// The name it has in the store.
pub const NAME: &str = "bivouac/base:latest";
const FILE: &str = "bivouac-base.tar";
const SHARED: &str = "/usr/share/bivouac";

/// Imports the image where the store lacks it. Without it the daemon works with every other image, so a failure is only
/// told.
pub fn ensure(images: &ImageStore, program: &Path) {
    if images.find(NAME).is_ok() {
        return;
    }
    let places = [program.with_file_name(FILE), Path::new(SHARED).join(FILE)];
    let Some(file) = places.iter().find(|place| place.is_file()) else {
        warn!("there is no {NAME}: {} is missing (scripts/base-image makes it)", shown(&places));
        return;
    };
    match images.import(Source::Path(file), Some(NAME), &NoProgress) {
        Ok(image) => info!(image = image.name, file = %file.display(), "imported the built-in image"),
        Err(error) => warn!(%error, file = %file.display(), "importing the built-in image failed"),
    }
}

fn shown(places: &[PathBuf]) -> String {
    places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(" or ")
}
