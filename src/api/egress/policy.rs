//! What is done, for both ways in which it is asked for.

use serde_json::Value;

use super::read;
use crate::api::error::ApiError;
use crate::api::types::PolicyStatusBody;
use crate::model::{NetworkMode, NetworkPolicy, PolicyChange, SandboxId};
use crate::sandbox::{Sandbox, Sandboxes};

/// The policy in force.
pub fn show(sandboxes: &Sandboxes, id: &SandboxId) -> Result<PolicyStatusBody, ApiError> {
    let sandbox = sandboxes.get(id).ok_or_else(|| ApiError::no_sandbox(id.as_str()))?;
    let config = sandboxes.config();
    let without =
        |body, reason: &str| PolicyStatusBody { enforcement_mode: "none", reason: Some(reason.to_owned()), ..body };
    Ok(match config.network(sandbox.spec.network) {
        NetworkMode::None => {
            let closed = PolicyStatusBody::new(Some(&NetworkPolicy::closed()));
            without(closed, "the sandbox has no network")
        }
        NetworkMode::Host => {
            without(PolicyStatusBody::new(None), "the sandbox has the network of the host, which no policy narrows")
        }
        NetworkMode::Bridge if !config.network.has_bridge() => {
            without(status(&sandbox), "the server has no network now; the packet filter has what an earlier one left")
        }
        NetworkMode::Bridge => status(&sandbox),
    })
}

/// Without a body, everything is denied.
pub async fn replace(
    sandboxes: &Sandboxes,
    id: &SandboxId,
    body: Option<&Value>,
) -> Result<PolicyStatusBody, ApiError> {
    let policy = body.map_or_else(|| Ok(NetworkPolicy::closed()), read::replacement)?;
    let status = change(sandboxes, id, PolicyChange::Replace(policy)).await?;
    let reason = body.is_none().then(|| "policy reset to default deny-all".to_owned());
    Ok(PolicyStatusBody { reason, ..status })
}

pub async fn merge(sandboxes: &Sandboxes, id: &SandboxId, body: &Value) -> Result<PolicyStatusBody, ApiError> {
    change(sandboxes, id, PolicyChange::Merge(read::new_rules(body)?)).await
}

pub async fn remove(sandboxes: &Sandboxes, id: &SandboxId, body: &Value) -> Result<PolicyStatusBody, ApiError> {
    let targets = read::old_targets(body)?;
    let has = |sandbox: &Sandbox| {
        let rules = sandbox.spec.policy.iter().flat_map(|policy| &policy.rules);
        rules.into_iter().any(|rule| targets.contains(&rule.target))
    };
    let found = sandboxes.get(id).is_some_and(|sandbox| has(&sandbox));
    let status = change(sandboxes, id, PolicyChange::Remove(targets)).await?;
    let reason = (!found).then(|| "no matching targets found".to_owned());
    Ok(PolicyStatusBody { reason, ..status })
}

async fn change(sandboxes: &Sandboxes, id: &SandboxId, change: PolicyChange) -> Result<PolicyStatusBody, ApiError> {
    let changed = sandboxes.change_policy(id, change).await;
    changed.map(|sandbox| status(&sandbox)).map_err(|denial| ApiError::denied(denial, "SANDBOX::POLICY_FAILED"))
}

fn status(sandbox: &Sandbox) -> PolicyStatusBody {
    PolicyStatusBody::new(sandbox.spec.policy.as_ref())
}
