//! A sandbox's network policy on the wire.

use serde::Serialize;

use crate::model::{Action, NetworkPolicy};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyStatusBody {
    pub status: &'static str,
    pub mode: &'static str,
    pub enforcement_mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub policy: PolicyBody,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyBody {
    pub default_action: &'static str,
    pub egress: Vec<RuleBody>,
}

#[derive(Debug, Serialize)]
pub struct RuleBody {
    pub action: &'static str,
    pub target: String,
}

impl PolicyStatusBody {
    /// Without a policy, everything is allowed that the operator leaves open.
    pub fn new(policy: Option<&NetworkPolicy>) -> Self {
        let policy = policy.cloned().unwrap_or_else(NetworkPolicy::open);
        let mode = match (policy.rules.is_empty(), policy.default) {
            (true, Action::Allow) => "allow_all",
            (true, Action::Deny) => "deny_all",
            (false, _) => "enforcing",
        };
        let rules = policy.rules.iter();
        let egress = rules.map(|rule| RuleBody { action: rule.action.as_str(), target: rule.target.to_string() });
        let policy = PolicyBody { default_action: policy.default.as_str(), egress: egress.collect() };
        Self { status: "ok", mode, enforcement_mode: "dns+nft", reason: None, policy }
    }
}
