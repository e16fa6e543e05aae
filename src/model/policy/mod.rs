//! What a sandbox may reach of the network: rules by name and by address, as clients write them.
//!
//! | what a packet or a question goes to | what decides |
//! |---|---|
//! | a name | the first rule in the list whose domain or wildcard it falls under, else the default |
//! | an address that a rule covers | the first such rule |
//! | any other address | passes when it was the answer for a name that may be reached, else the default |
//!
//! So a denied address stays denied whatever name leads to it. What the operator keeps closed is closed under every policy.

mod change;
mod target;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use change::PolicyChange;
pub use target::{InvalidTarget, Target};

/// Rules of one policy; as many as the protocol's own server takes.
pub const MOST_RULES: usize = 4096;
/// Those among them that name addresses. Each becomes an element of the packet filter.
pub const MOST_ADDRESS_RULES: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Allow,
    Deny,
}

impl Action {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PolicyRule {
    pub action: Action,
    pub target: Target,
}

/// The rules of one sandbox, the first that fits decides.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NetworkPolicy {
    /// What happens where no rule fits.
    pub default: Action,
    pub rules: Vec<PolicyRule>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PolicyTooLarge {
    #[error("a policy has at most {MOST_RULES} rules, and this one would have {0}")]
    Rules(usize),
    #[error("a policy has at most {MOST_ADDRESS_RULES} rules with addresses, and this one would have {0}")]
    AddressRules(usize),
}

impl NetworkPolicy {
    /// Nothing is reached.
    #[must_use]
    pub fn closed() -> Self {
        Self { default: Action::Deny, rules: Vec::new() }
    }

    /// Everything that the operator leaves open is reached: the same as no policy.
    #[must_use]
    pub fn open() -> Self {
        Self { default: Action::Allow, rules: Vec::new() }
    }

    #[must_use]
    pub fn is_open(&self) -> bool {
        self.default == Action::Allow && self.rules.is_empty()
    }

    /// What may be done with a name, in lower case and without the dot at its end.
    #[must_use]
    pub fn judge_name(&self, name: &str) -> Action {
        self.rules.iter().find(|rule| rule.target.has_name(name)).map_or(self.default, |rule| rule.action)
    }

    /// What a rule says of an address; `None` where none speaks of it.
    #[must_use]
    pub fn judge_address(&self, address: IpAddr) -> Option<Action> {
        self.rules.iter().find(|rule| rule.target.has_address(address)).map(|rule| rule.action)
    }

    /// Whether packets pass to an address that answered for these names.
    #[must_use]
    pub fn passes<'a>(&self, address: IpAddr, mut names: impl Iterator<Item = &'a str>) -> bool {
        match self.judge_address(address) {
            Some(action) => action == Action::Allow,
            None => self.default == Action::Allow || names.any(|name| self.judge_name(name) == Action::Allow),
        }
    }

    /// # Errors
    /// When there are more rules than a policy may have.
    pub fn check_size(&self) -> Result<(), PolicyTooLarge> {
        let addresses = self.rules.iter().filter(|rule| matches!(rule.target, Target::Net(..))).count();
        match self.rules.len() {
            rules if rules > MOST_RULES => Err(PolicyTooLarge::Rules(rules)),
            _ if addresses > MOST_ADDRESS_RULES => Err(PolicyTooLarge::AddressRules(addresses)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
