//! The image of a new sandbox, where it is not here yet.

use crate::image::{Credentials, Policy};

/// When the image is fetched, and as whom. It is not part of the record: credentials are kept nowhere.
#[derive(Debug, Clone, Default)]
pub struct Fetch {
    /// In the place of the operator's.
    pub policy: Option<Policy>,
    pub credentials: Option<Credentials>,
}

/// Where an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    Here,
    /// It is to be fetched first.
    Elsewhere,
}
