//! The image of a new sandbox, where it is not here yet.

use crate::image::{Credentials, Policy};
use crate::store::Fetching;

/// When the image is fetched, and as whom. Of credentials the record says only that there were some: they are kept nowhere.
#[derive(Debug, Clone, Default)]
pub struct Fetch {
    /// In the place of the operator's.
    pub policy: Option<Policy>,
    pub credentials: Option<Credentials>,
}

impl Fetch {
    /// For the record.
    #[must_use]
    pub fn noted(&self) -> Fetching {
        let policy = self.policy.map(|policy| policy.as_str().to_owned());
        Fetching { policy, with_credentials: self.credentials.is_some() }
    }

    /// From the record; `None` where credentials are missing now.
    #[must_use]
    pub fn again(noted: &Fetching) -> Option<Self> {
        // A word that a later version wrote is no reason to fail.
        let policy = noted.policy.as_ref().and_then(|word| word.parse().ok());
        (!noted.with_credentials).then_some(Self { policy, credentials: None })
    }
}

/// Where an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    Here,
    /// It is to be fetched first.
    Elsewhere,
}
