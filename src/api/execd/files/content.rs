//! What the exec API says of a file.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use crate::sandbox::files::{FileEntry, FileKind, FileTime};

#[derive(Debug, Serialize)]
pub struct FileInfo {
    path: String,
    #[serde(rename = "type")]
    kind: &'static str,
    size: u64,
    modified_at: String,
    created_at: String,
    owner: String,
    group: String,
    /// The octal digits, read as a decimal number.
    mode: u32,
    /// Ours: where a symbolic link leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

impl From<FileEntry> for FileInfo {
    fn from(entry: FileEntry) -> Self {
        Self {
            path: entry.path,
            kind: match entry.kind {
                FileKind::File => "file",
                FileKind::Directory => "directory",
                FileKind::Symlink => "symlink",
                FileKind::Other => "other",
            },
            size: entry.size,
            modified_at: time(entry.modified),
            created_at: time(entry.created),
            owner: entry.owner,
            group: entry.group,
            mode: decimal(entry.mode),
            target: entry.target,
        }
    }
}

/// RFC 3339 with nanoseconds. It has years of four digits; a time beyond them is told as the nearest.
fn time(time: FileTime) -> String {
    /// 0000-01-01 and 9999-12-31.
    const LEAST: i64 = -62_167_219_200;
    const MOST: i64 = 253_402_300_799;
    let time = DateTime::<Utc>::from_timestamp(time.seconds.clamp(LEAST, MOST), time.nanos.min(999_999_999));
    time.unwrap_or_default().to_rfc3339_opts(SecondsFormat::Nanos, true)
}

/// 0o755 is 755.
fn decimal(mode: u32) -> u32 {
    format!("{:o}", mode & 0o7777).parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal_digits_and_times_have_nanoseconds() {
        assert_eq!((decimal(0o644), decimal(0o4755), decimal(0)), (644, 4755, 0));
        assert_eq!(time(FileTime { seconds: 1, nanos: 5 }), "1970-01-01T00:00:01.000000005Z");
        assert_eq!(time(FileTime { seconds: i64::MAX, nanos: u32::MAX }), "9999-12-31T23:59:59.999999999Z");
        assert_eq!(time(FileTime { seconds: i64::MIN, nanos: 0 }), "0000-01-01T00:00:00.000000000Z");
    }
}
