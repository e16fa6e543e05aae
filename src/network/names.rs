//! What our links and tables are called.

use sha2::{Digest, Sha256};

use crate::model::SandboxId;

/// What the names of our links begin with.
const PREFIX: &str = "bvk";

/// The host's end of a sandbox's pair; at most 15 bytes, as `IFNAMSIZ` allows.
pub fn link_name(id: &SandboxId) -> String {
    format!("{PREFIX}{}", id.short())
}

/// nftables has no hyphens in names.
pub fn table_name(daemon: &str) -> String {
    daemon.replace('-', "_")
}

/// A number for the links of this daemon that hardly anybody else uses.
pub fn group(daemon: &str) -> u32 {
    let digest = Sha256::digest(daemon.as_bytes());
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) & 0x3fff_ffff | 0x4000_0000
}

pub fn anchor_name(group: u32) -> String {
    format!("{PREFIX}-{group:x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_what_the_kernel_takes() {
        let id: SandboxId = "0b5e5d5e-6f70-4a39-9d3e-2f0f3c9f6f11".parse().expect("an id");
        assert_eq!(link_name(&id), "bvk0b5e5d5e6f70");
        assert!(anchor_name(group("bivouac")).len() <= 15);
        assert_ne!(group("bivouac"), group("bivouac-0a1b2c"));
        assert_eq!(table_name("bivouac-0a1b2c"), "bivouac_0a1b2c");
    }
}
