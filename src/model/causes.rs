//! An error together with what caused it, in one line.

use std::error::Error;

/// The texts of an error and of all its causes, joined by colons.
#[must_use]
pub fn with_causes(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use thiserror::Error;

    use super::*;

    #[derive(Debug, Error)]
    #[error("{0}")]
    struct Told(&'static str, #[source] Option<Box<Told>>);

    #[test]
    fn every_cause_is_told_once_in_its_order() {
        let error = Told("open it", Some(Box::new(Told("find it", Some(Box::new(Told("no such file", None)))))));
        assert_eq!(with_causes(&error), "open it: find it: no such file");
        assert_eq!(with_causes(&Told("alone", None)), "alone");
    }
}
