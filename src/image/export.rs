//! Giving an image away: as an archive of an OCI image layout.
//!
//! Blobs are not kept here, so each layer is packed again from its unpacked tree: first to learn its digest, which stands in front
//! of it in the archive, then to send it. Nothing is written to the disk, and the same image always gives the same archive.
//! Layers are not compressed and their digests are new; so are those of config and manifest. What unpacking leaves out (devices,
//! attributes that no image may set) and what the store does not keep of a config (its history, volumes and ports) does not
//! come back.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use chrono::SecondsFormat;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::pack::{pack, write_file};
use super::store::Pins;
use super::{Digest, Image, ImageError, ImageStore, Reference};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const BUFFER: usize = 256 << 10;

/// An image that is about to be written; its layers stay while this value lives.
#[derive(Debug)]
pub struct Exporting<'s> {
    store: &'s ImageStore,
    image: Arc<Image>,
    /// Names and content of everything but the layers.
    documents: Vec<(String, Vec<u8>)>,
    layers: Vec<Packed>,
    _pins: Pins<'s>,
}

/// A layer as it will be packed.
#[derive(Debug, Clone, Copy)]
struct Packed {
    digest: Digest,
    size: u64,
}

impl ImageStore {
    /// Gets an image ready for being written. Reads all of it.
    ///
    /// # Errors
    /// As [`find`](Self::find), or when a layer cannot be read.
    pub fn export(&self, name: &str) -> Result<Exporting<'_>, ImageError> {
        let image = self.find(name)?;
        let mut pins = Pins::new(self);
        let here = image.layers.iter().filter(|layer| pins.pin(&layer.dir).is_some()).count();
        if here < image.layers.len() {
            // It was removed in between.
            return Err(ImageError::NotFound { name: name.to_owned() });
        }
        let measured = image.layers.iter().map(|layer| {
            let mut out = Hashed { inner: io::sink(), hasher: Sha256::new(), size: 0 };
            pack(self.open_layer(&layer.dir)?, &at(&layer.diff_id), &mut out)?;
            Ok(Packed { digest: Digest::of_hasher(out.hasher), size: out.size })
        });
        let layers = measured.collect::<Result<Vec<_>, ImageError>>()?;
        let documents = documents(&image, &layers);
        Ok(Exporting { store: self, image, documents, layers, _pins: pins })
    }

    fn open_layer(&self, dir: &str) -> Result<OwnedFd, ImageError> {
        let path = self.layers_dir().join(dir);
        let opened = File::open(&path).map(OwnedFd::from);
        opened.map_err(|error| ImageError::io(format!("open {}", path.display()), error))
    }
}

impl Exporting<'_> {
    /// Writes the archive: `oci-layout`, `index.json`, then the blobs.
    ///
    /// # Errors
    /// When `out` fails, or a layer is not any more what it was when it was measured.
    pub fn write(&self, out: &mut dyn Write) -> Result<(), ImageError> {
        let mut out = BufWriter::with_capacity(BUFFER, out);
        for (name, content) in &self.documents {
            put(&mut out, name, content).map_err(unwritten)?;
        }
        let mut written = Vec::new();
        for (layer, packed) in self.image.layers.iter().zip(&self.layers) {
            // One blob is one entry, however many layers have its content.
            if written.contains(&packed.digest) {
                continue;
            }
            written.push(packed.digest);
            write_file(&mut out, &blob(packed.digest), packed.size).map_err(unwritten)?;
            let mut through = Hashed { inner: &mut out, hasher: Sha256::new(), size: 0 };
            pack(self.store.open_layer(&layer.dir)?, &at(&layer.diff_id), &mut through)?;
            if through.size != packed.size || Digest::of_hasher(through.hasher) != packed.digest {
                return Err(ImageError::bad(at(&layer.diff_id), "it changed while it was read"));
            }
            // A packed layer is whole blocks, so nothing has to be padded.
        }
        out.write_all(&[0; 1024]).and_then(|()| out.flush()).map_err(unwritten)
    }
}

fn documents(image: &Image, layers: &[Packed]) -> Vec<(String, Vec<u8>)> {
    let config = config(image, layers).to_string().into_bytes();
    let layers: Vec<_> = layers.iter().map(|layer| descriptor(LAYER, layer.digest, layer.size)).collect();
    let manifest =
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": described(CONFIG, &config), "layers": layers});
    let manifest = manifest.to_string().into_bytes();
    let mut entry = described(MANIFEST, &manifest);
    entry["platform"] = json!({"architecture": image.architecture, "os": "linux"});
    let name = image.name.parse::<Reference>().ok();
    entry["annotations"] = json!({REF_NAME: name.as_ref().and_then(Reference::tag).unwrap_or("latest")});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]});
    vec![
        ("oci-layout".to_owned(), json!({"imageLayoutVersion": "1.0.0"}).to_string().into_bytes()),
        ("index.json".to_owned(), index.to_string().into_bytes()),
        (blob(Digest::of(&manifest)), manifest),
        (blob(Digest::of(&config)), config),
    ]
}

fn config(image: &Image, layers: &[Packed]) -> Value {
    let said = &image.config;
    let mut config = json!({});
    let env: Vec<_> = said.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    for (key, value, is_said) in [
        ("Env", json!(env), !env.is_empty()),
        ("User", json!(said.user), !said.user.is_empty()),
        ("WorkingDir", json!(said.working_dir), !said.working_dir.is_empty()),
        ("Entrypoint", json!(said.entrypoint), !said.entrypoint.is_empty()),
        ("Cmd", json!(said.cmd), !said.cmd.is_empty()),
        ("Labels", json!(said.labels), !said.labels.is_empty()),
        ("StopSignal", json!(said.stop_signal), !said.stop_signal.is_empty()),
    ] {
        if is_said {
            config[key] = value;
        }
    }
    let diff_ids: Vec<_> = layers.iter().map(|layer| layer.digest.to_string()).collect();
    let created = image.created.map(|time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true));
    let mut step = json!({"created_by": "bivouac image export"});
    let mut document = json!({
        "architecture": image.architecture,
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    if let Some(created) = created {
        step["created"] = json!(created);
        document["created"] = json!(created);
    }
    document["history"] = json!(vec![step; layers.len()]);
    document
}

fn described(media_type: &str, bytes: &[u8]) -> Value {
    descriptor(media_type, Digest::of(bytes), bytes.len() as u64)
}

fn descriptor(media_type: &str, digest: Digest, size: u64) -> Value {
    json!({"mediaType": media_type, "digest": digest.to_string(), "size": size})
}

fn blob(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn at(diff_id: &str) -> String {
    format!("layer {diff_id}")
}

fn put(out: &mut dyn Write, name: &str, content: &[u8]) -> io::Result<()> {
    write_file(out, name, content.len() as u64)?;
    out.write_all(content)?;
    let padding = content.len().next_multiple_of(512) - content.len();
    // Less than a block.
    out.write_all(&[0; 512][..padding])
}

fn unwritten(error: io::Error) -> ImageError {
    ImageError::io("write the archive", error)
}

/// Hashes and counts what is written through it.
struct Hashed<W> {
    inner: W,
    hasher: Sha256,
    size: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        // `write` takes no more than there is.
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
