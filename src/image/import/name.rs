//! The name that an import gives: the caller's, or one made from what the caller named; never one from the input.

use std::path::Path;

use crate::image::{Digest, ImageError, Reference, Source};

/// `None` for a stream without a name, which is named once its digest is known.
pub fn chosen(name: Option<&str>, source: &Source<'_>) -> Result<Option<Reference>, ImageError> {
    match (name, source) {
        (Some(name), _) => {
            let parsed: Reference = name.parse()?;
            if parsed.digest().is_some() {
                let problem = "an import is named by a tag; its digest shows when it is here";
                return Err(ImageError::InvalidName { name: name.chars().take(300).collect(), problem });
            }
            Ok(Some(parsed))
        }
        (None, Source::Path(path)) => from_path(path).parse().map(Some),
        (None, Source::Reader(_)) => Ok(None),
    }
}

pub fn by_digest(digest: Digest) -> Result<Reference, ImageError> {
    let hex = digest.hex();
    format!("imported/{}", hex.get(..12).unwrap_or(&hex)).parse()
}

/// `imported/<stem>:latest`, with hyphens for what no name may hold.
fn from_path(path: &Path) -> String {
    let file = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let endings = [".gz", ".tgz", ".zst", ".zstd", ".tzst", ".tar", ".oci"];
    let mut stem = file.as_str();
    while let Some(rest) = endings.iter().find_map(|ending| stem.strip_suffix(ending)) {
        stem = rest;
    }
    let words: Vec<_> = stem.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let mut stem = words.join("-");
    stem.truncate(100);
    let stem = stem.trim_end_matches('-');
    format!("imported/{}:latest", if stem.is_empty() { "image" } else { stem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stem_of_a_path_is_a_name() {
        for (path, name) in [
            ("/a/rootfs.tar.gz", "imported/rootfs:latest"),
            ("My Image_1.0.TAR", "imported/my-image-1-0:latest"),
            ("layout/", "imported/layout:latest"),
            (".tar", "imported/image:latest"),
            ("/", "imported/image:latest"),
            ("é\u{202e}", "imported/image:latest"),
        ] {
            let derived = from_path(Path::new(path));
            assert_eq!(derived, name);
            assert!(derived.parse::<Reference>().is_ok());
        }
    }
}
