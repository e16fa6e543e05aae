//! Credentials for a registry, as a request gives them: used for one pull, and kept nowhere.

use super::error::ApiError;
use super::fields::Fields;
use crate::image::Credentials;

/// `auth` of the object `image`.
pub fn read(image: &Fields<'_>) -> Result<Option<Credentials>, ApiError> {
    let Some(auth) = image.object("auth")? else { return Ok(None) };
    let (username, password) = (auth.required_text("username")?, auth.required_text("password")?);
    let credentials = Credentials::new(username, password);
    credentials.map(Some).map_err(|problem| ApiError::invalid(format!("image.auth cannot be used: {problem}.")))
}
