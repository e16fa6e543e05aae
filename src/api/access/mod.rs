//! Who may come to a sandbox's ports: whoever has the API key, the token of that port, or an address that was signed for
//! it.
//!
//! Tokens and signatures are not recorded anywhere. They are derived from one secret of the state directory and what they are
//! for (HMAC-SHA256), so they are the same after a restart, and neither a record nor a log nor a sandbox holds any.

mod host;
mod secret;
mod signed;
mod target;

use axum::http::HeaderMap;

pub use host::{InvalidPublicHost, PublicHost, is_host};
pub use secret::{Secret, SecretError};
pub use signed::SignedAddress;
pub use target::{EGRESS_PORT, EXEC_PORT, Target, Way, token_header};

use crate::model::SandboxId;

/// How sandboxes' ports are reached.
#[derive(Debug)]
pub struct Access {
    secret: Secret,
    /// The ports of users' programs are open to everybody who reaches the listener.
    pub open_ports: bool,
    /// What addresses begin with, in place of what the caller calls this server.
    pub public_host: Option<PublicHost>,
}

impl Access {
    #[must_use]
    pub fn new(secret: Secret) -> Self {
        Self { secret, open_ports: false, public_host: None }
    }

    /// What lets in to this port of this sandbox, for ever.
    #[must_use]
    pub fn token(&self, id: &SandboxId, port: u16) -> String {
        self.secret.derive(&token_message(id, port))
    }

    /// An address that lets in until `expires` (seconds of the Unix epoch).
    #[must_use]
    pub fn sign(&self, id: &SandboxId, port: u16, expires: u64) -> SignedAddress {
        signed::sign(&self.secret, id, port, expires)
    }

    /// Whether everybody is let in.
    #[must_use]
    pub fn is_open(&self, target: &Target<'_>) -> bool {
        self.open_ports && target.is_of_user()
    }

    /// Whether the port's token is there, once and right.
    #[must_use]
    pub fn admits(&self, target: &Target<'_>, headers: &HeaderMap) -> bool {
        let mut presented = headers.get_all(token_header(target.door)).iter();
        match (presented.next(), presented.next()) {
            (Some(token), None) => self.secret.verify(&token_message(&target.id, target.door), token.as_bytes()),
            _ => false,
        }
    }

    /// Whether the address was signed by us for this port of this sandbox, and its time is not over at `now`.
    #[must_use]
    pub fn honours(&self, target: &Target<'_>, address: &str, now: u64) -> bool {
        signed::verify(&self.secret, target, address, now)
    }
}

/// Seconds of the Unix epoch.
#[must_use]
pub fn now() -> u64 {
    u64::try_from(chrono::Utc::now().timestamp()).unwrap_or_default()
}

fn token_message(id: &SandboxId, port: u16) -> String {
    format!("v1\ntoken\n{id}\n{port}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0b5e5d5e-6f70-4a39-9d3e-2f0f3c9f6f11";
    const OTHER: &str = "1b5e5d5e-6f70-4a39-9d3e-2f0f3c9f6f11";

    fn id(text: &str) -> SandboxId {
        text.parse().expect("an id")
    }

    fn admitted(access: &Access, path: &str, tokens: &[(&'static str, &str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, token) in tokens {
            headers.append(*name, token.parse().expect("a header value"));
        }
        access.admits(&Target::of(path).expect("a target"), &headers)
    }

    #[test]
    fn a_token_opens_its_port_of_its_sandbox_alone() {
        let access = Access::new(Secret::random());
        let token = access.token(&id(ID), 80);
        let path = |id: &str, port: u16| format!("/v1/sandboxes/{id}/proxy/{port}/x");
        let header = "opensandbox-secure-access";
        assert!(admitted(&access, &path(ID, 80), &[(header, &token)]));
        assert!(!admitted(&access, &path(ID, 81), &[(header, &token)]));
        assert!(!admitted(&access, &path(OTHER, 80), &[(header, &token)]));
        assert!(!admitted(&access, &path(ID, 80), &[("x-execd-access-token", &token)]));
        assert!(!admitted(&access, &path(ID, 80), &[(header, &token), (header, &token)]));
        assert!(!admitted(&access, &path(ID, 80), &[(header, &token[1..])]));
        assert!(!admitted(&access, &path(ID, 80), &[(header, "")]));
        assert!(!admitted(&access, &path(ID, 80), &[]));
        let exec = access.token(&id(ID), EXEC_PORT);
        assert!(admitted(&access, &path(ID, EXEC_PORT), &[("x-execd-access-token", &exec)]));
        assert!(!admitted(&Access::new(Secret::random()), &path(ID, 80), &[(header, &token)]));
    }

    #[test]
    fn open_ports_are_those_of_users() {
        let access = Access { open_ports: true, ..Access::new(Secret::random()) };
        let open = |port: u16| {
            let path = format!("/sandboxes/{ID}/proxy/{port}");
            access.is_open(&Target::of(&path).expect("a target"))
        };
        assert_eq!([80, EXEC_PORT, EGRESS_PORT].map(open), [true, false, false]);
    }

    #[test]
    fn a_signed_address_is_for_its_port_and_its_time() {
        let access = Access::new(Secret::random());
        let address = access.sign(&id(ID), 8080, 2_000_000_000).to_string();
        let honoured = |path: &str, now| match Target::of(path) {
            Some(target @ Target { way: Way::Signed(address), .. }) => access.honours(&target, address, now),
            _ => panic!("{path} is no signed address"),
        };
        let path = |id: &str, port: u16, address: &str| format!("/v1/sandboxes/{id}/signed/{address}/{port}/x");
        assert!(address.starts_with(&format!("{ID}-8080-x2qxvk-")), "{address}");
        assert!(honoured(&path(ID, 8080, &address), 1_999_999_999));
        assert!(!honoured(&path(ID, 8080, &address), 2_000_000_000));
        assert!(!honoured(&path(OTHER, 8080, &address), 0));
        assert!(!honoured(&path(ID, 8081, &address), 0));
        let later = address.replace("-x2qxvk-", "-x2qxvz-");
        assert!(!honoured(&path(ID, 8080, &later), 0));
        let foreign = address.replace(ID, OTHER);
        assert!(!honoured(&path(OTHER, 8080, &foreign), 0));
        for broken in ["x", "", "---", &address[..address.len() - 1], &format!("{address}0")] {
            assert!(!honoured(&path(ID, 8080, broken).replace("//", "/-/"), 0), "{broken}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let access = Access::new(Secret::random());
        assert_eq!(format!("{access:?}"), "Access { secret: Secret(..), open_ports: false, public_host: None }");
    }
}
