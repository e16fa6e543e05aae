//! The time to live.

use std::time::Duration;

use super::Rules;
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::time::LATEST_EXPIRY_SECONDS;

/// Whole seconds; `None`, for ever, when the field is absent or null.
pub fn read(body: &Fields<'_>, rules: &Rules<'_>) -> Result<Option<Duration>, ApiError> {
    let Some(seconds) = body.integer("timeout")? else { return Ok(None) };
    let least = rules.min_timeout;
    let timeout = u64::try_from(seconds).ok().filter(|seconds| *seconds >= least).ok_or_else(|| {
        ApiError::invalid(format!("timeout must be at least {least} seconds, or null to never expire; got {seconds}."))
    })?;
    if let Some(most) = rules.max_timeout
        && timeout > most
    {
        return Err(ApiError::invalid(format!("Sandbox timeout {timeout}s exceeds configured maximum of {most}s.")));
    }
    // Both are seconds of the epoch far below the limits of 64 bits, but `seconds` itself may be any number.
    if rules.now.timestamp().checked_add(seconds).is_none_or(|end| end > LATEST_EXPIRY_SECONDS) {
        return Err(ApiError::invalid(format!(
            "timeout {timeout}s ends later than this server can count (2262). Use null to never expire."
        )));
    }
    Ok(Some(Duration::from_secs(timeout)))
}
