//! What an image may cost before it is refused.

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Bounds on everything that an image's author chooses. Crossing one refuses the image; nothing of it stays behind.
///
/// All sizes are bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnpackLimits {
    /// Of one layer after decompression, and of the files in it (holes of sparse files count).
    pub layer_bytes: u64,
    /// Of all layers of one image together.
    pub image_bytes: u64,
    /// Of one file, holes included.
    pub file_bytes: u64,
    /// Tar entries in one layer, and directories that they imply.
    pub entries: u64,
    /// Compressed bytes for each entry, looked at from the entry `entries_from` on: what costs next to nothing to send may not cost
    /// an inode. A directory counts for eight.
    pub entry_bytes: u64,
    pub entries_from: u64,
    /// Directories above a file, plus the file.
    pub depth: usize,
    /// Uncompressed bytes for each compressed one, looked at once `ratio_from` bytes came out.
    pub ratio: u64,
    pub ratio_from: u64,
    /// Layers of one image; overlayfs takes no more than 500 on one mount, registries 127.
    pub layers: usize,
    pub manifest_bytes: u64,
    pub config_bytes: u64,
    /// Base 2 logarithm of the window that a zstd frame may ask for: 25 is 32 MiB, which is what the best level of the encoder in
    /// docker, containerd and podman takes, and level 20 of zstd itself.
    pub zstd_window_log: u32,
    /// Extended header (PAX or GNU long name) of one entry.
    pub extended_header_bytes: u64,
    /// Data regions of one sparse file; each costs 16 bytes of memory while the file is written.
    pub sparse_regions: usize,
    /// Strings of the config that reach a sandbox, together.
    pub config_strings_bytes: usize,
    /// Files in an archive that holds an image (not in its layers).
    pub archive_members: usize,
}

impl Default for UnpackLimits {
    fn default() -> Self {
        Self {
            layer_bytes: 32 * GIB,
            image_bytes: 32 * GIB,
            file_bytes: 16 * GIB,
            entries: 1_000_000,
            entry_bytes: 16,
            entries_from: 100_000,
            depth: 256,
            ratio: 100,
            ratio_from: 256 * MIB,
            layers: 127,
            manifest_bytes: 4 * MIB,
            config_bytes: 8 * MIB,
            zstd_window_log: 25,
            extended_header_bytes: MIB,
            sparse_regions: 1_000_000,
            config_strings_bytes: 1024 * KIB as usize,
            archive_members: 10_000,
        }
    }
}
