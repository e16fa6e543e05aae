//! Registries for tests: Debian's `docker-registry`, and one that does whatever a test says.
#![expect(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

pub mod fake;
pub mod real;
pub mod run;
#[path = "../e2e/harness/wait.rs"]
pub mod wait;

use std::sync::Arc;
use std::time::Duration;

use bivouac::image::{
    Credentials, Image, ImageError, ImageStore, Patience, PullRequest, Puller, RegistryConfig, UnpackLimits,
};
use tempfile::TempDir;

/// A store, and who pulls for it with little patience.
pub struct Fixture {
    pub dir: TempDir,
    pub store: Arc<ImageStore>,
    pub puller: Puller,
}

impl Fixture {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(configure: impl FnOnce(&mut RegistryConfig)) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "the tests of images unpack files of other owners: run them as root");
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let store = Arc::new(ImageStore::open(&dir.path().join("images"), UnpackLimits::default()).unwrap());
        let mut config = RegistryConfig { auth_files: Vec::new(), patience: impatient(), ..RegistryConfig::default() };
        configure(&mut config);
        let puller = Puller::new(Arc::clone(&store), config).unwrap();
        Self { dir, store, puller }
    }

    pub async fn pull(&self, image: &str) -> Result<Arc<Image>, Arc<ImageError>> {
        self.pull_as(image, None).await
    }

    pub async fn pull_as(&self, image: &str, who: Option<(&str, &str)>) -> Result<Arc<Image>, Arc<ImageError>> {
        let credentials = who.map(|(name, password)| Credentials::new(name, password).unwrap());
        let request = PullRequest { image: image.to_owned(), credentials };
        self.puller.pull(&request).map_err(Arc::new)?.finished().await
    }

    /// Pulls what must be refused; returns why. Nothing of it may be left.
    pub async fn refuse(&self, image: &str) -> String {
        let error = self.pull(image).await.map(|image| image.name.clone()).expect_err("it must be refused");
        self.assert_empty();
        bivouac::model::with_causes(&*error)
    }

    pub fn assert_empty(&self) {
        assert!(self.store.list().is_empty());
        self.store.settle(Duration::from_secs(60));
        for folder in ["layers", "tmp", "records"] {
            let left: Vec<_> = std::fs::read_dir(self.dir.path().join("images").join(folder)).unwrap().collect();
            assert!(left.is_empty(), "{folder}: {left:?}");
        }
    }

    pub fn file(&self, image: &Image, layer: usize, name: &str) -> String {
        let path = self.store.layers_dir().join(&image.layers[layer].dir).join(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

pub fn impatient() -> Patience {
    Patience {
        tries: 3,
        first_pause: Duration::from_millis(5),
        longest_pause: Duration::from_secs(2),
        answer: Duration::from_secs(10),
        window: Duration::from_millis(500),
        trickle: 1024,
    }
}
