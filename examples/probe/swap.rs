//! Two names that change places as often as they can.

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

/// Never ends, unless the names cannot change places.
pub fn forever(one: &str, other: &str) -> serde_json::Value {
    loop {
        if let Err(error) = renameat2(AT_FDCWD, one, AT_FDCWD, other, RenameFlags::RENAME_EXCHANGE) {
            return serde_json::json!(error.to_string());
        }
    }
}
