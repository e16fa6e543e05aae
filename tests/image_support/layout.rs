//! OCI layouts, made such that each part can be made wrong.

use std::fs;
use std::path::{Path, PathBuf};

use bivouac::image::Digest;
use serde_json::{Value, json};

use super::tar::Tar;

pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A layout directory in the making.
pub struct Layout {
    pub path: PathBuf,
}

impl Layout {
    pub fn new(path: &Path) -> Self {
        fs::create_dir_all(path.join("blobs/sha256")).unwrap();
        fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self { path: path.to_owned() }
    }

    /// Writes a blob and returns its descriptor.
    pub fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        fs::write(self.path.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
    }

    pub fn blob_path(&self, descriptor: &Value) -> PathBuf {
        self.path.join("blobs/sha256").join(&descriptor["digest"].as_str().unwrap()[7..])
    }

    pub fn document(&self, media_type: &str, document: &Value) -> Value {
        self.blob(media_type, document.to_string().as_bytes())
    }

    pub fn index(&self, manifests: &[Value]) {
        self.index_document(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}));
    }

    pub fn index_document(&self, index: &Value) {
        fs::write(self.path.join("index.json"), index.to_string()).unwrap();
    }

    pub fn config(diff_ids: &[String]) -> Value {
        json!({
            "architecture": architecture(), "os": "linux", "created": "2026-01-02T03:04:05Z",
            "config": {"Env": ["A=1"], "Cmd": ["/x"], "User": "7:8", "WorkingDir": "/w"},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        })
    }

    /// The manifest of an image of these uncompressed layers.
    pub fn manifest(&self, layers: &[Vec<u8>]) -> Value {
        let diff_ids: Vec<_> = layers.iter().map(|tar| Digest::of(tar).to_string()).collect();
        let config = self.document(CONFIG, &Self::config(&diff_ids));
        let layers: Vec<_> = layers.iter().map(|tar| self.blob(LAYER, tar)).collect();
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers})
    }

    /// A whole image of these layers, in a layout of its own.
    pub fn image(path: &Path, layers: &[Vec<u8>]) -> Self {
        let layout = Self::new(path);
        let manifest = layout.manifest(layers);
        layout.index(&[layout.document(MANIFEST, &manifest)]);
        layout
    }

    /// As an OCI archive.
    pub fn archive(&self) -> Vec<u8> {
        let mut tar = Tar::new().dir("blobs/").dir("blobs/sha256/");
        for blob in fs::read_dir(self.path.join("blobs/sha256")).unwrap() {
            let blob = blob.unwrap();
            tar = tar
                .pax(&[("path", format!("blobs/sha256/{}", blob.file_name().to_str().unwrap()).as_bytes())])
                .file("blob", fs::read(blob.path()).unwrap());
        }
        for name in ["index.json", "oci-layout"] {
            tar = tar.file(name, fs::read(self.path.join(name)).unwrap());
        }
        tar.end()
    }
}

pub fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}
