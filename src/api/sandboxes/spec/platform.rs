//! The platform that a client insists on.

use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::model::Platform;

/// Must be this host's, or the request fails: nothing is emulated.
pub fn read(body: &Fields<'_>, arch: &str) -> Result<Option<Platform>, ApiError> {
    let Some(asked) = body.object("platform")? else { return Ok(None) };
    let platform = Platform {
        os: asked.required_text("os")?.trim().to_ascii_lowercase(),
        arch: asked.required_text("arch")?.trim().to_ascii_lowercase(),
    };
    known("os", &platform.os, ["linux", "windows"])?;
    known("arch", &platform.arch, ["amd64", "arm64"])?;
    if platform.os == "windows" {
        return Err(ApiError::invalid("platform.os 'windows' is not supported by this version; use 'linux'."));
    }
    if platform.arch != arch {
        let asked = &platform.arch;
        return Err(ApiError::invalid(format!("platform.arch '{asked}' cannot run on this host, which is '{arch}'.")));
    }
    Ok(Some(platform))
}

fn known(field: &str, value: &str, supported: [&str; 2]) -> Result<(), ApiError> {
    if supported.contains(&value) {
        return Ok(());
    }
    let value: String = value.chars().take(64).collect();
    let [first, second] = supported;
    Err(ApiError::invalid(format!(
        "Unsupported platform.{field} '{value}'. Supported values: ['{first}', '{second}']."
    )))
}
