//! The routes of sandboxes, a file for each verb.

mod attach;
mod create;
mod delete;
mod get;
mod list;
mod logs;
mod metadata;
mod pause;
mod renew;
mod resume;
mod signal;
mod spec;
mod stats;
mod wait;

pub use attach::attach;
pub use create::create;
pub use delete::delete;
pub use get::get;
pub use list::list;
pub use logs::{logs, since, unreadable};
pub use metadata::patch_metadata;
pub use pause::pause;
pub use renew::renew;
pub use resume::resume;
pub use signal::signal;
pub use stats::{all_stats, metered, stats};
pub use wait::wait;
