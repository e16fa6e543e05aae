//! The body of an upload: for each file a part that describes it and a part with its content.

use std::io::{self, Read, Write};

use serde_json::{Value, json};

use super::inside::{digits, literal};

/// Writes the parts of a multipart body.
#[derive(Debug)]
pub struct Parts<'a, W> {
    out: W,
    boundary: &'a str,
}

impl<'a, W: Write> Parts<'a, W> {
    pub fn new(out: W, boundary: &'a str) -> Self {
        Self { out, boundary }
    }

    pub fn file(&mut self, path: &str, mode: u32, mut content: impl Read) -> io::Result<()> {
        self.describe(&json!({ "path": literal(path), "mode": digits(mode) }))?;
        self.head("file")?;
        io::copy(&mut content, &mut self.out)?;
        self.out.write_all(b"\r\n")
    }

    pub fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.describe(&json!({ "path": literal(path), "target": target }))?;
        self.head("file")?;
        self.out.write_all(b"\r\n")
    }

    pub fn end(mut self) -> io::Result<()> {
        write!(self.out, "--{}--\r\n", self.boundary)
    }

    fn describe(&mut self, description: &Value) -> io::Result<()> {
        self.head("metadata")?;
        write!(self.out, "{description}\r\n")
    }

    fn head(&mut self, name: &str) -> io::Result<()> {
        let boundary = self.boundary;
        write!(self.out, "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{name}\"\r\n\r\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_parser_finds_every_part() {
        let mut out = Vec::new();
        let mut parts = Parts::new(&mut out, "between");
        parts.file("/a $b", 0o750, b"\r\n--\0\xff".as_slice()).expect("in memory");
        parts.link("/l", "../$t").expect("in memory");
        parts.end().expect("in memory");
        let stream = futures_util::stream::once(async move { io::Result::Ok(hyper::body::Bytes::from(out)) });
        let mut body = multer::Multipart::new(stream, "between");
        let mut found = Vec::new();
        while let Some(part) = body.next_field().await.expect("a part") {
            let name = part.name().expect("a name").to_owned();
            found.push((name, part.bytes().await.expect("content").to_vec()));
        }
        let part = |name: &str, content: &[u8]| (name.to_owned(), content.to_vec());
        assert_eq!(
            found,
            [
                part("metadata", br#"{"mode":750,"path":"/a ${$}b"}"#),
                part("file", b"\r\n--\0\xff"),
                part("metadata", br#"{"path":"/l","target":"../$t"}"#),
                part("file", b""),
            ]
        );
    }
}
