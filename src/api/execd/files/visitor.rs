//! Who asks for files of which sandbox.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;

use super::failure;
use crate::api::error::ApiError;
use crate::api::execd::Entered;
use crate::api::state::ApiState;
use crate::sandbox::files::Lease;

/// The sandbox that the path names, and the user; without one it is the sandbox's own.
#[derive(Debug)]
pub struct Visitor {
    entered: Entered,
    user: Option<String>,
}

impl FromRequestParts<ApiState> for Visitor {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let entered = Entered::from_request_parts(parts, state).await?;
        let params = RawPathParams::from_request_parts(parts, state).await;
        let params = params.map_err(|_| failure::invalid("The path is not UTF-8 after decoding."))?;
        let named = |name| params.iter().find(|(key, _)| *key == name).map(|(_, value)| id(name, value)).transpose();
        let user = match (named("uid")?, named("gid")?) {
            (Some(uid), Some(gid)) => Some(format!("{uid}:{gid}")),
            _ => None,
        };
        Ok(Self { entered, user })
    }
}

fn id(name: &str, text: &str) -> Result<u16, ApiError> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let refuse = || failure::invalid(format!("{name} must be between 0 and 65535; a sandbox has no other ids."));
    text.parse().ok().filter(|_| plain).ok_or_else(refuse)
}

impl Visitor {
    /// Somebody inside who does what is asked.
    pub async fn lease(&self) -> Result<Lease, ApiError> {
        let program = async {
            let mut program = self.entered.program().await?;
            if let Some(user) = &self.user {
                program.process.user.clone_from(user);
            }
            Ok(program)
        };
        self.entered.files().enter(&self.entered.inside, self.user.clone(), program).await
    }
}
