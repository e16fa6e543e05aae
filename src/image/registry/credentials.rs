//! A name and a password, which never show up in anything that is printed.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;

/// Who pulls. They are held in memory for the time of one pull, and bound to one registry.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Credentials {
    username: String,
    password: String,
}

impl Credentials {
    /// # Errors
    /// With what is wrong: a name must not be empty nor hold a colon (RFC 7617), neither may hold control characters.
    pub fn new(username: &str, password: &str) -> Result<Self, &'static str> {
        if username.is_empty() || username.contains(':') {
            return Err("the user name must not be empty and must not hold a colon");
        }
        if username.chars().chain(password.chars()).any(char::is_control) {
            return Err("user name and password must not hold control characters");
        }
        Ok(Self { username: username.to_owned(), password: password.to_owned() })
    }

    /// From `base64(name:password)`, as the files of `docker login` have it.
    pub(super) fn decode(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text.trim().trim_end_matches('\0')).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (username, password) = text.split_once(':')?;
        Self::new(username, password.trim_end_matches('\0')).ok()
    }

    /// The value of `Authorization`.
    pub(super) fn basic(&self) -> HeaderValue {
        let encoded = STANDARD.encode(format!("{}:{}", self.username, self.password));
        // Base64 is always a valid value.
        let mut value = HeaderValue::from_str(&format!("Basic {encoded}")).unwrap_or(HeaderValue::from_static("Basic"));
        value.set_sensitive(true);
        value
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_them_is_printed() {
        let credentials = Credentials::new("somebody", "secret").expect("valid");
        assert_eq!(format!("{credentials:?}"), "Credentials(..)");
        assert!(!format!("{:?}", credentials.basic()).contains(STANDARD.encode("somebody:secret").as_str()));
    }

    #[test]
    fn what_login_writes_is_read() {
        let decoded = Credentials::decode(&STANDARD.encode("a:b:c")).expect("decoded");
        assert_eq!(decoded, Credentials::new("a", "b:c").expect("valid"));
        for bad in ["", "!", &STANDARD.encode("none"), &STANDARD.encode("a:b\r\nX: y"), &STANDARD.encode(":x")] {
            assert!(Credentials::decode(bad).is_none(), "{bad:?}");
        }
    }
}
