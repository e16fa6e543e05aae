//! The sandbox that a request goes into.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::failure;
use crate::api::error::ApiError;
use crate::api::extract::Id;
use crate::api::state::ApiState;
use crate::sandbox::code::Contexts;
use crate::sandbox::commands::Shelf;
use crate::sandbox::files::Files;
use crate::sandbox::{Inside, Program};

/// A sandbox that runs; otherwise the request is refused at once, with its state.
#[derive(Debug)]
pub struct Entered {
    pub inside: Inside,
    state: ApiState,
}

impl FromRequestParts<ApiState> for Entered {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let Id(id) = Id::from_request_parts(parts, state).await?;
        let inside = state.sandboxes.inside(&id).map_err(|denial| ApiError::denied(denial, failure::FAILED))?;
        Ok(Self { inside, state: state.clone() })
    }
}

impl Entered {
    /// The sandbox's commands.
    pub async fn shelf(&self) -> Result<Arc<Shelf>, ApiError> {
        // A command may be the probe.
        self.state.probe_ports.hold(&self.inside).await;
        self.state.commands.of(&self.inside).await.map_err(failure::of)
    }

    /// The servants for files.
    pub fn files(&self) -> &Arc<Files> {
        &self.state.files
    }

    /// The sandbox's code contexts.
    pub async fn contexts(&self) -> Result<Arc<Contexts>, ApiError> {
        self.state.contexts.of(&self.inside).await.map_err(failure::of)
    }

    /// A program with what every command of the sandbox is given, and no arguments yet.
    pub async fn program(&self) -> Result<Program, ApiError> {
        let process = self.inside.defaults().await.map_err(|error| failure::internal(&error.message))?;
        let named = process.env.iter().find_map(|entry| entry.strip_prefix("EXECD_ENVS="));
        let env_file = named.map(str::to_owned);
        Ok(Program { env_file, ..Program::from(process) })
    }
}
