//! Who changed the rules: this daemon, or somebody else.

use crate::network::netlink::{Change, attributes};

const NEWGEN: u16 = 10 << 8 | 15;

/// Whether somebody whom `is_own` (by the number of the thread) does not know changed the table of this name.
///
/// A change comes as messages for what was touched, and a last one that says who did it.
pub fn touched(changes: &[Change], table: &str, is_own: impl Fn(u32) -> bool) -> bool {
    let mut ours = false;
    for change in changes {
        let attribute = |wanted| {
            let body = change.body.get(4..).unwrap_or_default();
            attributes(body).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
        };
        if change.kind == NEWGEN {
            let thread = attribute(2).and_then(|value| value.first_chunk()).map(|value| u32::from_be_bytes(*value));
            if std::mem::take(&mut ours) && !thread.is_some_and(&is_own) {
                return true;
            }
        } else {
            // The first attribute of all these messages is the name of the table.
            ours |= attribute(1).and_then(|name| name.strip_suffix(&[0])) == Some(table.as_bytes());
        }
    }
    // The last one has not come yet.
    ours
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(kind: u16, attribute: u16, value: &[u8]) -> Change {
        let mut body = vec![1, 0, 0, 0];
        body.extend_from_slice(&u16::try_from(value.len() + 4).expect("short").to_ne_bytes());
        body.extend_from_slice(&attribute.to_ne_bytes());
        body.extend_from_slice(value);
        Change { kind: 10 << 8 | kind, body }
    }

    #[test]
    fn what_we_did_ourselves_is_no_news() {
        let by = |thread: u32| change(15, 2, &thread.to_be_bytes());
        let (ours, other) = (change(2, 1, b"bivouac\0"), change(2, 1, b"filter\0"));
        let touched = |changes: &[Change]| touched(changes, "bivouac", |thread| thread == 7);
        assert!(!touched(&[]));
        assert!(!touched(&[ours.clone(), by(7)]));
        assert!(!touched(&[other.clone(), by(8)]));
        assert!(touched(&[ours.clone(), by(8)]));
        assert!(touched(&[other.clone(), by(7), ours.clone(), other, by(8), by(7)]));
        assert!(touched(&[ours]));
    }
}
