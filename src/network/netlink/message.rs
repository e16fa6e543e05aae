//! Messages: a header, and attributes within attributes.

const HEADER: usize = 16;
const NESTED: u16 = 0x8000;
const TYPE: u16 = 0x3fff;

/// Attributes in their form on the wire.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes(Vec<u8>);

impl Attributes {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// As they came over the wire.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    #[must_use]
    pub fn bytes(self, kind: u16, value: &[u8]) -> Self {
        self.put(kind, &[value])
    }

    /// Ends with the zero byte that the kernel expects of a name.
    #[must_use]
    pub fn text(self, kind: u16, value: &str) -> Self {
        self.put(kind, &[value.as_bytes(), &[0]])
    }

    /// A number as the routing side of the kernel has it: in the order of this machine.
    #[must_use]
    pub fn native(self, kind: u16, value: u32) -> Self {
        self.put(kind, &[&value.to_ne_bytes()])
    }

    /// A number as the packet filter has it: in network order.
    #[must_use]
    pub fn number(self, kind: u16, value: u32) -> Self {
        self.put(kind, &[&value.to_be_bytes()])
    }

    #[must_use]
    pub fn nest(self, kind: u16, inner: &Self) -> Self {
        self.put(kind | NESTED, &[&inner.0])
    }

    /// A nest whose attributes stand after a header of their own.
    #[must_use]
    pub fn nest_after(self, kind: u16, header: &[u8], inner: &Self) -> Self {
        self.put(kind | NESTED, &[header, &inner.0])
    }

    /// In their form on the wire.
    #[cfg(test)]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn put(mut self, kind: u16, parts: &[&[u8]]) -> Self {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        // Nothing that is sent here comes near 64 KiB: lists of elements are cut into pieces before.
        let told = u16::try_from(length + 4).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&told.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        parts.iter().for_each(|part| self.0.extend_from_slice(part));
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it asks for, told when it fails.
    pub what: String,
    kind: u16,
    flags: u16,
    body: Vec<u8>,
    /// The marks of a batch are not answered.
    pub(super) answered: bool,
}

impl Message {
    /// `header` is the fixed part that comes before the attributes in this family.
    pub fn new(what: impl Into<String>, kind: u16, flags: u16, header: &[u8], attributes: &Attributes) -> Self {
        let mut body = header.to_vec();
        body.extend_from_slice(&attributes.0);
        Self { what: what.into(), kind, flags, body, answered: true }
    }

    /// The beginning or end of a batch.
    pub fn mark(what: &str, kind: u16, header: &[u8]) -> Self {
        Self { answered: false, ..Self::new(what, kind, 0, header, &Attributes::new()) }
    }

    /// Appends it as it goes over the wire.
    pub(super) fn encode(&self, to: &mut Vec<u8>, sequence: u32, more_flags: u16) {
        let length = u32::try_from(HEADER + self.body.len()).unwrap_or(u32::MAX);
        to.extend_from_slice(&length.to_ne_bytes());
        to.extend_from_slice(&self.kind.to_ne_bytes());
        to.extend_from_slice(&(self.flags | more_flags | libc::NLM_F_REQUEST as u16).to_ne_bytes());
        to.extend_from_slice(&sequence.to_ne_bytes());
        to.extend_from_slice(&0_u32.to_ne_bytes());
        to.extend_from_slice(&self.body);
        to.resize(to.len().next_multiple_of(4), 0);
    }
}

/// One message of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    pub body: Vec<u8>,
}

/// The messages of a datagram; what does not parse ends it.
pub(super) fn decode(mut bytes: &[u8]) -> Vec<Answer> {
    let mut all = Vec::new();
    while let Some(length) = bytes.first_chunk::<4>().map(|length| u32::from_ne_bytes(*length) as usize) {
        let Some(message) = bytes.get(..length).filter(|message| message.len() >= HEADER) else { break };
        let kind = u16::from_ne_bytes([message[4], message[5]]);
        let flags = u16::from_ne_bytes([message[6], message[7]]);
        let sequence = u32::from_ne_bytes([message[8], message[9], message[10], message[11]]);
        all.push(Answer { kind, flags, sequence, body: message[HEADER..].to_vec() });
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    all
}

/// The attributes of a body, by kind; what does not parse ends them.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let [a, b, c, d] = *bytes.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([c, d]) & TYPE, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_come_out_as_they_went_in() {
        let inner = Attributes::new().text(1, "eth0").number(2, 7);
        let outer = Attributes::new().bytes(3, &[1, 2, 3]).nest(4, &inner);
        let found: Vec<_> = attributes(&outer.0).collect();
        assert_eq!(found[0], (3, &[1, 2, 3][..]));
        let nested: Vec<_> = attributes(found[1].1).collect();
        assert_eq!(nested, [(1, &b"eth0\0"[..]), (2, &[0, 0, 0, 7][..])]);
    }

    #[test]
    fn messages_come_out_as_they_went_in_and_rubbish_ends_them() {
        let message = Message::new("x", 16, 0, &[9; 5], &Attributes::new());
        let mut bytes = Vec::new();
        message.encode(&mut bytes, 1, 0);
        message.encode(&mut bytes, 2, 0);
        bytes.extend_from_slice(&[255; 20]);
        let found = decode(&bytes);
        assert_eq!(found.iter().map(|answer| answer.sequence).collect::<Vec<_>>(), [1, 2]);
        assert!(found.iter().all(|answer| answer.kind == 16 && answer.body == [9; 5]));
        assert_eq!(attributes(&[8, 0, 1]).count(), 0);
        assert_eq!(attributes(&[2, 0, 1, 0, 0]).count(), 0);
    }
}
