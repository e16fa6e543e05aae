//! A strict reader of tar archives.
//!
//! Header blocks are those of the `tar` crate; the walk over them is ours. The crate's own walk splits PAX records at
//! newlines (a binary attribute that holds one hides the records after it), reads extended headers of any size into
//! memory, and lets a PAX size and a header size disagree: differences of that kind between two readers are how entries
//! get smuggled past one of them. Here every ambiguity is an error, and memory is bounded.

mod header;
mod input;
mod member;
mod number;
mod pax;
mod reader;
mod sparse;

pub use header::Kind;
pub use input::Input;
pub use member::Member;
pub use reader::TarReader;
pub use sparse::Region;

/// Every header is one block, and data is padded to blocks.
pub const BLOCK: usize = 512;

/// An entry's name in a message: no control characters, no kilobytes.
pub fn shown(name: &[u8]) -> String {
    let mut text: String = name.escape_ascii().to_string();
    if text.len() > 120 {
        text.truncate(117);
        text.push_str("...");
    }
    format!("\"{text}\"")
}
