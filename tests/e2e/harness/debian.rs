//! A real image: a Debian root with bash, python3, node and git, made once from the packages of this host's release.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use super::daemon::Daemon;

/// The name under which [`Daemon::import_debian`] has it.
pub const DEBIAN: &str = "test/debian:latest";

/// The image as an OCI layout. An image of another recipe has another name.
fn layout() -> &'static PathBuf {
    static LAYOUT: OnceLock<PathBuf> = OnceLock::new();
    LAYOUT.get_or_init(|| {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("debian-image-with-node");
        if !path.exists() {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/lib/debian-image.sh");
            let output = Command::new(script).arg(&path).output().expect("the script starts");
            assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        }
        path
    })
}

impl Daemon {
    /// Imports the image, which is made first where it is not there yet.
    pub fn import_debian(&self) {
        let imported = self.cli(&["image", "import", &layout().to_string_lossy(), "--name", DEBIAN]);
        assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    }
}
