//! How a policy becomes another one.

use std::collections::HashSet;

use super::{NetworkPolicy, PolicyRule, PolicyTooLarge, Target};

/// What a client wants to be different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyChange {
    Replace(NetworkPolicy),
    /// These rules before all others; of several for one target the first counts, and earlier rules for it go.
    Merge(Vec<PolicyRule>),
    /// The rules for these targets go.
    Remove(Vec<Target>),
}

impl PolicyChange {
    /// What is in force afterwards; `None`, before and after, is no restriction.
    ///
    /// # Errors
    /// When it would have too many rules.
    pub fn apply(self, current: Option<&NetworkPolicy>) -> Result<Option<NetworkPolicy>, PolicyTooLarge> {
        let mut policy = current.cloned().unwrap_or_else(NetworkPolicy::open);
        match self {
            Self::Replace(other) => policy = other,
            Self::Merge(rules) => {
                let mut seen = HashSet::new();
                let all = rules.into_iter().chain(policy.rules);
                policy.rules = all.filter(|rule| seen.insert(rule.target.clone())).collect();
            }
            Self::Remove(targets) => {
                let targets: HashSet<Target> = targets.into_iter().collect();
                policy.rules.retain(|rule| !targets.contains(&rule.target));
            }
        }
        policy.check_size()?;
        Ok(Some(policy).filter(|policy| !policy.is_open()))
    }
}
