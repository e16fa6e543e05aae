//! Imports one image into a store and says what it took: `import STORE SOURCE [NAME]`, `-` for the standard input.

use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use bivouac::image::{ImageStore, NoProgress, Source, UnpackLimits};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, store, source, name @ ..] = arguments.as_slice() else { return Err("import STORE SOURCE [NAME]".into()) };
    let store = ImageStore::open(Path::new(store), UnpackLimits::default())?;
    let source = match source.as_str() {
        "-" => Source::Reader(Box::new(std::io::stdin())),
        path => Source::Path(Path::new(path)),
    };
    let begun = Instant::now();
    let image = store.import(source, name.first().map(String::as_str), &NoProgress)?;
    let took = begun.elapsed();
    let begun = Instant::now();
    store.find(&image.name)?;
    let found = begun.elapsed();
    let (layers, entries) = (image.layers.len(), image.layers.iter().map(|layer| layer.entries).sum::<u64>());
    writeln!(
        std::io::stdout(),
        "{} {}: {} MB, {entries} entries in {layers} layers, imported in {took:.2?}, found in {found:.2?}",
        image.name,
        image.digest,
        image.size / 1_000_000,
    )?;
    Ok(())
}
