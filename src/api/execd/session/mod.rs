//! `/session`: shells that go on where the last run ended.

mod close;
mod open;
mod run;

pub use close::close;
pub use open::open;
pub use run::run;
