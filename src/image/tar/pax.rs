//! PAX extended headers (`pax(1)`, POSIX.1-2001): records of the form `length key=value\n`.

use std::collections::HashSet;

use super::number;

/// What the records of one header say about the next entry.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pax {
    pub path: Option<Vec<u8>>,
    pub linkpath: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub mtime: Option<(i64, u32)>,
    /// Extended attributes that the archive carries; names without the `SCHILY.xattr.` prefix.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Attributes in forms that are never applied (ACLs, SELinux labels, `LIBARCHIVE.xattr.`).
    pub dropped: u64,
    pub sparse: PaxSparse,
}

/// `GNU.sparse.*`
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PaxSparse {
    pub major: Option<u64>,
    pub minor: Option<u64>,
    pub name: Option<Vec<u8>>,
    pub realsize: Option<u64>,
    /// Keys of the formats 0.0 and 0.1.
    pub old_format: bool,
}

impl PaxSparse {
    pub fn is_present(&self) -> bool {
        *self != Self::default()
    }
}

impl Pax {
    /// # Errors
    /// A text that says what is wrong: a malformed record, a key twice, a value that is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut pax = Self::default();
        let mut seen = HashSet::new();
        for record in Records(bytes) {
            let (key, value) = record?;
            if !seen.insert(key) {
                return Err(format!("the PAX record {:?} comes twice", key.escape_ascii().to_string()));
            }
            pax.take(key, value)?;
        }
        Ok(pax)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let invalid = || format!("the PAX record {:?} has an invalid value", key.escape_ascii().to_string());
        let text = || (!value.is_empty() && !value.contains(&0)).then(|| value.to_vec()).ok_or_else(invalid);
        let decimal = || number::decimal(value).ok_or_else(invalid);
        match key {
            b"path" => self.path = Some(text()?),
            b"linkpath" => self.linkpath = Some(text()?),
            b"size" => self.size = Some(decimal()?),
            b"uid" => self.uid = Some(decimal()?),
            b"gid" => self.gid = Some(decimal()?),
            b"mtime" => self.mtime = Some(number::time(value).ok_or_else(invalid)?),
            b"hdrcharset" if value != b"BINARY" && value != b"ISO-IR 10646 2000 UTF-8" => return Err(invalid()),
            b"GNU.sparse.major" => self.sparse.major = Some(decimal()?),
            b"GNU.sparse.minor" => self.sparse.minor = Some(decimal()?),
            b"GNU.sparse.name" => self.sparse.name = Some(text()?),
            b"GNU.sparse.realsize" => self.sparse.realsize = Some(decimal()?),
            // star's own way to give a file another size than it has in the archive.
            b"SCHILY.realsize" => return Err("sparse files of star are not supported".into()),
            _ => self.take_by_prefix(key, value),
        }
        Ok(())
    }

    fn take_by_prefix(&mut self, key: &[u8], value: &[u8]) {
        const DROPPED: [&[u8]; 4] = [b"SCHILY.acl.", b"RHT.security.", b"LIBARCHIVE.xattr.", b"SCHILY.fflags"];
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            self.xattrs.push((name.to_vec(), value.to_vec()));
        } else if key.starts_with(b"GNU.sparse.") {
            self.sparse.old_format = true;
        } else if DROPPED.iter().any(|prefix| key.starts_with(prefix)) {
            self.dropped += 1;
        }
    }
}

/// Checks a global header: it may comment, it may not say anything about the entries.
pub fn check_global(bytes: &[u8]) -> Result<(), String> {
    for record in Records(bytes) {
        let (key, _) = record?;
        if !matches!(key, b"comment" | b"charset") {
            let key = key.escape_ascii().to_string();
            return Err(format!("a global PAX record {key:?} would change every entry after it"));
        }
    }
    Ok(())
}

/// Walks the records by their length, as the format says: a value may hold newlines.
struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let record = record(self.0);
        self.0 = record.map_or(&[], |(_, rest)| rest);
        Some(record.map(|(record, _)| record).ok_or_else(|| "a PAX record is malformed".to_owned()))
    }
}

type Record<'a> = (&'a [u8], &'a [u8]);

fn record(bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let space = bytes.iter().take(12).position(|byte| *byte == b' ')?;
    let length = usize::try_from(number::decimal(bytes.get(..space)?)?).ok()?;
    let body = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (body.get(..equals)?, body.get(equals + 1..)?);
    let key_is_sane = !key.is_empty() && !key.contains(&0) && !key.contains(&b'\n');
    key_is_sane.then_some(((key, value), bytes.get(length..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(text: &str) -> String {
        let with = |digits: usize| format!("{} {text}\n", digits + text.len() + 2);
        (1..5).map(|digits| (digits, with(digits))).find(|(digits, it)| it.len() == digits + text.len() + 2).unwrap().1
    }

    #[test]
    fn a_value_may_hold_newlines_and_records() {
        let hidden = record("size=1");
        let bytes = record(&format!("SCHILY.xattr.user.a=x\n{hidden}")) + &record("size=42");
        let pax = Pax::parse(bytes.as_bytes()).unwrap();
        assert_eq!(pax.size, Some(42));
        assert_eq!(pax.xattrs, [(b"user.a".to_vec(), format!("x\n{hidden}").into_bytes())]);
    }

    #[test]
    fn ambiguity_is_an_error() {
        assert!(Pax::parse(b"11 size=42\n").is_ok());
        let repeated = record("size=42") + &record("size=43");
        let invalid =
            ["size=-2", "size=+2", "size=", "path=", "path=a\0", "=x", "a\nb=c", "mtime=x", "SCHILY.realsize=1"];
        let malformed = [
            "11 size=42",
            "12 size=42\n",
            "10 size=42\n",
            "7 path\n",
            "99999999999999999999 a=b\n",
            "0 a=b\n",
            "\0\0\0\0",
        ];
        let invalid = invalid.iter().map(|text| record(text));
        for bad in malformed.iter().map(ToString::to_string).chain(invalid).chain([repeated]) {
            assert!(Pax::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_global_header_may_only_comment() {
        assert!(check_global(record("comment=x").as_bytes()).is_ok());
        assert!(check_global((record("comment=x") + &record("size=42")).as_bytes()).is_err());
        assert!(check_global(b"11 comment=x\n").is_err());
    }
}
