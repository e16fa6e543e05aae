//! When the image is fetched, and as whom: beside the specification, for it is not recorded.

use crate::api::credentials;
use crate::api::error::ApiError;
use crate::api::fields::{Fields, shown};
use crate::sandbox::Fetch;

const POLICY: &str = "bivouac.pull_policy";

/// `image.auth`, and the policy among the `extensions`.
pub fn read(body: &Fields<'_>) -> Result<Fetch, ApiError> {
    let credentials = body.object("image")?.map(|image| credentials::read(&image)).transpose()?.flatten();
    let extensions = body.text_map("extensions")?.unwrap_or_default();
    let policy = extensions.get(POLICY).map(|text| {
        let refuse =
            |problem| ApiError::invalid(format!("Invalid extensions[{POLICY:?}]: {problem}, got {}.", shown(text)));
        text.parse().map_err(refuse)
    });
    Ok(Fetch { policy: policy.transpose()?, credentials })
}
