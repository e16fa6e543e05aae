//! A real image: a Debian root with bash, python3, node and git, made once from the packages of this host's release.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::daemon::Daemon;

/// The name under which [`Daemon::import_debian`] has it.
pub const DEBIAN: &str = "test/debian:latest";

/// The name under which [`Daemon::import_plots`] has it.
pub const PLOTS: &str = "test/plots:latest";

/// The image as an OCI layout. An image of another recipe has another name.
fn layout() -> &'static PathBuf {
    static LAYOUT: OnceLock<PathBuf> = OnceLock::new();
    LAYOUT.get_or_init(|| made("debian-image-with-node", "debian-image.sh", &[]))
}

/// The same with matplotlib and IPython.
fn plots() -> &'static PathBuf {
    static LAYOUT: OnceLock<PathBuf> = OnceLock::new();
    LAYOUT.get_or_init(|| made("plots-image", "plots-image.sh", &[layout()]))
}

/// What a script makes, once.
fn made(name: &str, script: &str, arguments: &[&PathBuf]) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    if !path.exists() {
        let script = format!("{}/scripts/lib/{script}", env!("CARGO_MANIFEST_DIR"));
        let output = Command::new(&script).args(arguments).arg(&path).output().expect("the script starts");
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }
    path
}

impl Daemon {
    /// Imports the image, which is made first where it is not there yet.
    pub fn import_debian(&self) {
        self.import(layout(), DEBIAN);
    }

    /// The same for the image with matplotlib and IPython.
    pub fn import_plots(&self) {
        self.import(plots(), PLOTS);
    }

    fn import(&self, layout: &Path, name: &str) {
        let imported = self.cli(&["image", "import", &layout.to_string_lossy(), "--name", name]);
        assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    }
}
