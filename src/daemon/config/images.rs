//! The section `[images]`: which images stay when nobody removes any.

use std::time::Duration;

use super::reader::Reader;
use crate::console::parse_duration;
use crate::image::{KeepPolicy, MinFree};
use crate::model::parse_memory;

pub fn read(from: &mut Reader) -> KeepPolicy {
    KeepPolicy {
        unused_for: from.parsed("images.unused_for", unused_for).flatten(),
        min_free: from.parsed("images.min_free", min_free),
    }
}

/// `none` is the default, for a variable or a file that wants to say so.
fn unused_for(text: &str) -> Result<Option<Duration>, String> {
    if text == "none" {
        return Ok(None);
    }
    parse_duration(text).map(Some).map_err(|error| error.to_string())
}

fn min_free(text: &str) -> Result<MinFree, String> {
    if text.ends_with('%') {
        return text.parse().map_err(|problem| format!("{text:?}: {problem}"));
    }
    let bytes = parse_memory(text).map_err(|_| format!("{text:?} is neither a size, as 20Gi, nor a share, as 10%"))?;
    Ok(MinFree::Bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_times_are_read() {
        assert_eq!(unused_for("7d"), Ok(Some(Duration::from_secs(7 * 86_400))));
        assert_eq!(unused_for("none"), Ok(None));
        assert_eq!(min_free("10%"), Ok(MinFree::Percent(10)));
        assert_eq!(min_free("20Gi"), Ok(MinFree::Bytes(20 << 30)));
        assert!(unused_for("soon").is_err() && min_free("much").is_err() && min_free("200%").is_err());
    }
}
