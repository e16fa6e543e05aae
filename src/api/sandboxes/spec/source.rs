//! What a sandbox is made from: an image; snapshots and templates are known and refused.

use axum::http::StatusCode;

use crate::api::credentials;
use crate::api::error::ApiError;
use crate::api::fields::Fields;

/// No registry accepts a longer reference.
const MOST_URI_BYTES: usize = 1024;

/// What the fields of a template exclude, in the order that messages list them.
const FIXED_BY_TEMPLATE: [&str; 11] = [
    "credentialProxy",
    "entrypoint",
    "env",
    "image",
    "lifecycle",
    "platform",
    "resourceLimits",
    "resourceRequests",
    "secureAccess",
    "snapshotId",
    "volumes",
];

/// Refuses a request for a template, first for its shape and then because there are none.
pub fn check_template(body: &Fields<'_>) -> Result<(), ApiError> {
    let Some(template) = body.text("templateId")? else { return Ok(()) };
    if template.is_empty() {
        return Err(ApiError::invalid("templateId must not be empty."));
    }
    // Clients always send `secureAccess: false`.
    let given = |field: &&str| body.has(field) && (*field != "secureAccess" || body.boolean(field) != Ok(false));
    let excluded: Vec<&str> = FIXED_BY_TEMPLATE.into_iter().filter(|field| given(field)).collect();
    if !excluded.is_empty() {
        return Err(ApiError::invalid(format!("templateId cannot be combined with: {}.", excluded.join(", "))));
    }
    if !body.has("timeout") {
        return Err(ApiError::invalid("timeout is required together with templateId."));
    }
    Err(ApiError::refused(
        "DOCKER::INVALID_ENTRYPOINT",
        "Templates are not supported by this version, so there is no entrypoint. Give an image and an entrypoint.",
    ))
}

/// The image's reference, as the client wrote it.
pub fn read(body: &Fields<'_>) -> Result<String, ApiError> {
    let image = body.object("image")?;
    let snapshot = body.text("snapshotId")?;
    match (image, snapshot) {
        (Some(image), None) => read_image(&image),
        (None, Some(id)) if !id.trim().is_empty() => Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "SNAPSHOT::NOT_FOUND",
            format!("Snapshot {} not found", id.chars().take(64).collect::<String>()),
        )),
        _ => Err(ApiError::invalid("Exactly one of image or snapshotId must be provided.")),
    }
}

fn read_image(image: &Fields<'_>) -> Result<String, ApiError> {
    let uri = image.required_text("uri")?;
    if uri.trim().is_empty() {
        return Err(ApiError::invalid("image.uri must not be blank."));
    }
    if uri.len() > MOST_URI_BYTES {
        return Err(ApiError::invalid(format!(
            "image.uri must have at most {MOST_URI_BYTES} bytes, not {}.",
            uri.len()
        )));
    }
    if uri.chars().any(char::is_control) {
        return Err(ApiError::invalid("image.uri must not contain control characters."));
    }
    // Used elsewhere; what is wrong with them is found out with everything else.
    credentials::read(image)?;
    Ok(uri.to_owned())
}
