//! What an entry's name asks for.

use crate::image::UnpackLimits;
use crate::image::tar::Kind;

const PATH_MAX: usize = 4095;
const NAME_MAX: usize = 255;
const WHITEOUT: &[u8] = b".wh.";
/// Bookkeeping of the AUFS file system, and the opaque marker that was inherited from it.
const AUFS: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// A place in the layer: the path of the directory, without slashes around it, and the name in it.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    Root,
    Entry {
        parent: Vec<u8>,
        name: Vec<u8>,
    },
    /// The name in the layers below is not to be seen.
    Whiteout {
        parent: Vec<u8>,
        name: Vec<u8>,
    },
    /// Nothing of this directory in the layers below is to be seen.
    Opaque {
        directory: Vec<u8>,
    },
    /// Nothing to us.
    Ignored,
}

/// Reads the name of an entry of the given kind.
pub fn parse(raw: &[u8], kind: Kind, limits: &UnpackLimits) -> Result<Place, &'static str> {
    let ends_in_directory = raw.ends_with(b"/") || raw.ends_with(b"/.") || raw == b".";
    if ends_in_directory && kind != Kind::Directory {
        return Err("its name can only be a directory's, and it is none");
    }
    let mut components = clean(raw, limits)?;
    let Some(name) = components.pop() else { return Ok(Place::Root) };
    if components.iter().chain([&name]).any(|component| component.starts_with(AUFS) && *component != OPAQUE) {
        return Ok(Place::Ignored);
    }
    if components.iter().any(|component| component.starts_with(WHITEOUT)) {
        return Err("it lies below a whiteout");
    }
    let parent = components.join(b"/".as_slice());
    match name.strip_prefix(WHITEOUT) {
        None => Ok(Place::Entry { parent, name: name.to_vec() }),
        Some(_) if !matches!(kind, Kind::File | Kind::HardLink) => Err("it has the name of a whiteout and is no file"),
        Some(_) if name == OPAQUE => Ok(Place::Opaque { directory: parent }),
        Some(b"" | b"." | b"..") => Err("it is a whiteout of no name"),
        Some(hidden) => Ok(Place::Whiteout { parent, name: hidden.to_vec() }),
    }
}

/// The place that a hard link refers to, which must be one of [`Place::Entry`].
pub fn parse_link(raw: &[u8], limits: &UnpackLimits) -> Result<(Vec<u8>, Vec<u8>), &'static str> {
    match parse(raw, Kind::HardLink, limits)? {
        Place::Entry { parent, name } => Ok((parent, name)),
        _ => Err("it is a hard link to something that is no file"),
    }
}

fn clean<'a>(raw: &'a [u8], limits: &UnpackLimits) -> Result<Vec<&'a [u8]>, &'static str> {
    if raw.is_empty() {
        return Err("it has no name");
    }
    if raw.contains(&0) {
        return Err("its name holds a NUL");
    }
    if raw.len() > PATH_MAX {
        return Err("its name is longer than 4095 bytes");
    }
    let components: Vec<_> =
        raw.split(|byte| *byte == b'/').filter(|component| !matches!(*component, b"" | b".")).collect();
    if components.contains(&b"..".as_slice()) {
        return Err("its name has a \"..\" in it");
    }
    if components.iter().any(|component| component.len() > NAME_MAX) {
        return Err("a component of its name is longer than 255 bytes");
    }
    if components.len() > limits.depth {
        return Err("it lies too deep");
    }
    Ok(components)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(raw: &[u8]) -> Result<Place, &'static str> {
        parse(raw, Kind::File, &UnpackLimits::default())
    }

    fn directory(raw: &[u8]) -> Result<Place, &'static str> {
        parse(raw, Kind::Directory, &UnpackLimits::default())
    }

    fn entry(parent: &str, name: &str) -> Place {
        Place::Entry { parent: parent.into(), name: name.into() }
    }

    #[test]
    fn names_are_relative_to_the_root() {
        for (raw, place) in [
            ("a", entry("", "a")),
            ("/a", entry("", "a")),
            ("./a//b/./c", entry("a/b", "c")),
            ("a/...", entry("a", "...")),
            ("a\n", entry("", "a\n")),
        ] {
            assert_eq!(file(raw.as_bytes()).unwrap(), place, "{raw}");
        }
        assert_eq!(file(b"\xff/\xfe").unwrap(), Place::Entry { parent: vec![0xff], name: vec![0xfe] });
        for root in ["/", ".", "./", "./.", "//"] {
            assert_eq!(directory(root.as_bytes()).unwrap(), Place::Root, "{root}");
        }
        assert_eq!(directory(b"a/.").unwrap(), entry("", "a"));
    }

    #[test]
    fn what_leads_elsewhere_is_refused() {
        let (long, deep) = ("x".repeat(256), "d/".repeat(257));
        for raw in ["", "..", "../x", "a/..", "a/../../x", "/..", "a\0b", ".", "a/", "a/.", "/", &long, &deep] {
            assert!(file(raw.as_bytes()).is_err(), "{raw:?}");
        }
        assert!(file("a/".repeat(2048).as_bytes()).is_err());
        assert!(directory(deep.as_bytes()).is_err());
    }

    #[test]
    fn whiteouts() {
        let hidden = Place::Whiteout { parent: b"a".to_vec(), name: b"b".to_vec() };
        assert_eq!(file(b"a/.wh.b").unwrap(), hidden);
        assert_eq!(file(b".wh..wh..opq").unwrap(), Place::Opaque { directory: Vec::new() });
        assert_eq!(file(b"a/.wh..wh..opq").unwrap(), Place::Opaque { directory: b"a".to_vec() });
        assert_eq!(file(b"a/.wh..wh.plnk/1.2").unwrap(), Place::Ignored);
        assert_eq!(file(b".wh.a\n..").unwrap(), Place::Whiteout { parent: Vec::new(), name: b"a\n..".to_vec() });
        for raw in ["a/.wh.", "a/.wh..", "a/.wh...", ".wh.a/b", ".wh../x"] {
            assert!(file(raw.as_bytes()).is_err(), "{raw}");
        }
        assert!(directory(b"a/.wh.b").is_err());
        assert!(directory(b".wh..wh..opq").is_err());
    }
}
