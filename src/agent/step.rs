//! Naming the steps of a launch, so that a failure says which one it was.

use crate::proto::{FailureKind, StepFailure};

pub type Step<T> = Result<T, StepFailure>;

pub trait Named<T> {
    /// Names the step that this result belongs to.
    fn step(self, name: &str) -> Step<T>;

    /// As [`step`](Self::step), for a failure that the image or the request has caused.
    fn step_of(self, kind: FailureKind, name: &str) -> Step<T>;
}

impl<T, E: std::fmt::Display> Named<T> for Result<T, E> {
    fn step(self, name: &str) -> Step<T> {
        self.map_err(|error| failure(name, &error, FailureKind::Internal))
    }

    fn step_of(self, kind: FailureKind, name: &str) -> Step<T> {
        self.map_err(|error| failure(name, &error, kind))
    }
}

fn failure(name: &str, error: &dyn std::fmt::Display, kind: FailureKind) -> StepFailure {
    StepFailure { step: name.to_owned(), error: error.to_string(), kind }
}
