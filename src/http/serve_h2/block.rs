//! Field blocks (RFC 7541) looked at when something is wrong with one.
//!
//! The library calls every block it cannot take a PROTOCOL_ERROR and drops pseudo-fields of trailers. This reads a block as
//! far as it can be read without the dynamic table, on the way out of a connection or at the trailers of a request.

/// Bytes of a block that are remembered; nothing is said of longer ones.
const MAX: usize = 16 << 10;
/// RFC 7541 appendix A: entries of the static table, and the last that is a pseudo-field.
const STATIC: usize = 61;
const LAST_PSEUDO: usize = 14;
const METHOD: [usize; 2] = [2, 3];
/// RFC 9113 section 6.5.2: the size of the dynamic table, which no setting of ours changes.
const TABLE_SIZE: usize = 4096;

/// The last field block of a client.
#[derive(Debug, Default)]
pub(super) struct Block {
    bytes: Vec<u8>,
    /// Flags of its HEADERS, until padding and priority are taken off.
    flags: Option<u8>,
    /// Too long, or on a stream where it may not be.
    ignored: bool,
}

impl Block {
    /// HEADERS with these flags begins one.
    pub fn begin(&mut self, flags: u8, ignored: bool) {
        self.bytes.clear();
        self.flags = Some(flags);
        self.ignored = ignored;
    }

    pub fn push(&mut self, payload: &[u8]) {
        if self.bytes.len() + payload.len() > MAX {
            self.ignored = true;
        } else {
            self.bytes.extend_from_slice(payload);
        }
    }

    /// The payload of HEADERS is whole: only its fragment is kept (RFC 9113 section 6.2).
    pub fn strip(&mut self) {
        let Some(flags) = self.flags.take() else { return };
        let (padded, priority) = (flags & 0x08 != 0, flags & 0x20 != 0);
        let padding = if padded { self.bytes.first().map_or(0, |length| usize::from(*length)) } else { 0 };
        let start = usize::from(padded) + if priority { 5 } else { 0 };
        match self.bytes.len().checked_sub(padding).filter(|end| start <= *end) {
            Some(end) => {
                self.bytes.truncate(end);
                self.bytes.drain(..start);
            }
            // The library refuses the frame, not what is in it.
            None => self.ignored = true,
        }
    }

    /// Whether the block cannot be decoded, given that the library did not take it: COMPRESSION_ERROR.
    pub fn is_broken(&mut self) -> bool {
        self.strip();
        if self.ignored {
            return false;
        }
        let (fields, whole) = read(&self.bytes);
        // What stands first decides. A field that is malformed was decoded.
        !fields.iter().any(Field::is_malformed) && (!whole || fields.iter().any(|field| field.index > STATIC))
    }

    /// Whether one of its fields is a pseudo-field, as far as that shows without the dynamic table.
    pub fn has_pseudo_field(&mut self) -> bool {
        self.strip();
        !self.ignored && read(&self.bytes).0.iter().any(Field::is_pseudo)
    }
}

/// A field as a block spells it.
struct Field {
    /// Index of the entry or of the name; zero for a name that is spelled out.
    index: usize,
    name: Vec<u8>,
    /// Empty for an indexed entry.
    value: Vec<u8>,
}

impl Field {
    fn is_pseudo(&self) -> bool {
        (1..=LAST_PSEUDO).contains(&self.index) || self.name.first() == Some(&b':')
    }

    /// The library refuses such a field when it decodes it: that is no fault of the coding.
    fn is_malformed(&self) -> bool {
        const PSEUDO: [&[u8]; 6] = [b":method", b":scheme", b":authority", b":path", b":protocol", b":status"];
        let token =
            |text: &[u8]| !text.is_empty() && text.iter().all(|b| b.is_ascii_graphic() && !b":,;()<>@".contains(b));
        let named = match self.name.first() {
            Some(b':') => PSEUDO.contains(&&self.name[..]),
            _ => self.index > 0 || (token(&self.name) && !self.name.iter().any(u8::is_ascii_uppercase)),
        };
        let method = METHOD.contains(&self.index) || self.name == b":method";
        let valued = self.value.iter().all(|b| *b == b'\t' || (*b >= 0x20 && *b != 0x7f))
            && (!method || self.value.is_empty() || token(&self.value))
            && (!self.is_pseudo() || std::str::from_utf8(&self.value).is_ok());
        !named || !valued
    }
}

/// The fields of a block, up to the first thing that cannot be decoded; true when there is no such thing.
fn read(mut block: &[u8]) -> (Vec<Field>, bool) {
    let mut fields = Vec::new();
    while !block.is_empty() {
        match field(&mut block, fields.is_empty()) {
            Some(Some(field)) => fields.push(field),
            Some(None) => {}
            None => return (fields, false),
        }
    }
    (fields, true)
}

/// One representation (RFC 7541 section 6); `Some(None)` is a table size update, which may only stand at the start.
fn field(block: &mut &[u8], start: bool) -> Option<Option<Field>> {
    let first = *block.first()?;
    if first & 0x80 != 0 {
        let index = integer(block, 7).filter(|index| (1..STATIC + TABLE_SIZE / 32).contains(index))?;
        return Some(Some(Field { index, name: Vec::new(), value: Vec::new() }));
    }
    let prefix = match first {
        0x40.. => 6,
        0x20.. => {
            return integer(block, 5).filter(|size| start && *size <= TABLE_SIZE).map(|_| None);
        }
        _ => 4,
    };
    let index = integer(block, prefix).filter(|index| *index < STATIC + TABLE_SIZE / 32)?;
    let name = if index == 0 { string(block)? } else { Vec::new() };
    Some(Some(Field { index, name, value: string(block)? }))
}

/// RFC 7541 section 5.1.
fn integer(block: &mut &[u8], prefix: u32) -> Option<usize> {
    let mut next = || {
        let (first, rest) = block.split_first()?;
        *block = rest;
        Some(usize::from(*first))
    };
    let limit = (1 << prefix) - 1;
    let mut value = next()? & limit;
    if value < limit {
        return Some(value);
    }
    for shift in (0..28).step_by(7) {
        let byte = next()?;
        value += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// RFC 7541 section 5.2.
fn string(block: &mut &[u8]) -> Option<Vec<u8>> {
    let coded = block.first()? & 0x80 != 0;
    let length = integer(block, 7)?;
    let (text, rest) = block.split_at_checked(length)?;
    *block = rest;
    if coded { decoded(text) } else { Some(text.to_vec()) }
}

/// Lengths of the codes of RFC 7541 appendix B, by symbol; the last is EOS. The code is canonical: lengths say all.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22,
    22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20,
    22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26, 30,
];

fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut order: Vec<usize> = (0..LENGTHS.len()).collect();
    order.sort_by_key(|symbol| LENGTHS[*symbol]);
    // By length: the first code, and where its symbol stands in `order`.
    let mut starts = [(0u64, 0usize, 0usize); 31];
    let (mut code, mut at) = (0u64, 0);
    for (length, start) in starts.iter_mut().enumerate() {
        let count = LENGTHS.iter().filter(|of| usize::from(**of) == length).count();
        *start = (code, at, count);
        at += count;
        code = (code + count as u64) << 1;
    }
    let mut out = Vec::with_capacity(text.len() * 2);
    let (mut code, mut length) = (0u64, 0usize);
    for bit in text.iter().flat_map(|byte| (0..8).rev().map(move |place| u64::from(byte >> place & 1))) {
        code = code << 1 | bit;
        length += 1;
        let (first, at, count) = *starts.get(length)?;
        if let Some(offset) = code.checked_sub(first).filter(|offset| *offset < count as u64) {
            // EOS is no byte, and must not occur.
            out.push(u8::try_from(*order.get(at + offset as usize)?).ok()?);
            (code, length) = (0, 0);
        }
    }
    // Padding is the start of EOS, ones only, and shorter than a byte.
    (length < 8 && code == (1 << length) - 1).then_some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block(bytes: &[u8]) -> Block {
        let mut block = Block::default();
        block.begin(4, false);
        block.push(bytes);
        block
    }

    fn text(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn huffman_code_is_that_of_rfc_7541() {
        for (coded, plain) in [
            ("f1e3c2e5f23a6ba0ab90f4ff", "www.example.com"),
            ("a8eb10649cbf", "no-cache"),
            ("25a849e95ba97d7f", "custom-key"),
            ("25a849e95bb8e8b4bf", "custom-value"),
            ("d07abe941054d444a8200595040b8166e082a62d1bff", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ] {
            assert_eq!(decoded(&text(coded)).as_deref(), Some(plain.as_bytes()));
        }
        for wrong in ["1fff", "18", "ffffffff", "00"] {
            assert_eq!(decoded(&text(wrong)), None, "{wrong}");
        }
    }

    #[test]
    fn what_cannot_be_decoded_is_told_from_what_is_malformed() {
        let broken: [&[u8]; 9] = [
            b"\x82\x80",
            b"\x82\xc6",
            b"\x82\xff\xff\xff\xff\xff\x7f",
            b"\x82\x7f\x07\x01x",
            b"\x82\x20",
            b"\x3f\xe2\x1f\x82",
            b"\x82\x40\x01x\x82\x1f\xff",
            b"\x82\x40\x0aab",
            b"\x82\x40\x01x",
        ];
        for bytes in broken {
            assert!(block(bytes).is_broken(), "{bytes:?}");
        }
        let malformed: [&[u8]; 8] = [
            b"\x82\x87\x84",
            b"\x20\x3f\x61\x82",
            b"\x82\x00\x03X-A\x011",
            b"\x82\x00\x02:x\x011",
            b"\x82\x00\x03x-a\x021\n",
            b"\x02\x03G T",
            b"\x82\x00\x00\x011\x80",
            b"",
        ];
        for bytes in malformed {
            assert!(!block(bytes).is_broken(), "{bytes:?}");
        }
    }

    #[test]
    fn pseudo_fields_are_found_by_index_and_by_name() {
        let found: [&[u8]; 4] = [b"\x82", b"\x02\x03PUT", b"\x00\x05:path\x01/", b"\x00\x84\xb9\x58\xd3\x3f\x01/"];
        for bytes in found {
            assert!(block(bytes).has_pseudo_field(), "{bytes:?}");
        }
        let none: [&[u8]; 3] = [b"\x00\x03x-a\x01:", b"\x90", b"\xbe"];
        for bytes in none {
            assert!(!block(bytes).has_pseudo_field(), "{bytes:?}");
        }
    }

    #[test]
    fn padding_and_priority_are_no_part_of_a_block() {
        let mut padded = Block::default();
        padded.begin(0x2c, false);
        padded.push(b"\x03\0\0\0\0\x10\x82\x80\0\0\0");
        assert!(padded.is_broken());
        assert_eq!(padded.bytes, b"\x82\x80");
        let mut wrong = Block::default();
        wrong.begin(0x0c, false);
        wrong.push(b"\x09\x80");
        assert!(!wrong.is_broken());
    }

    proptest! {
        #[test]
        fn any_block_is_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), flags in any::<u8>()) {
            let mut block = Block::default();
            block.begin(flags, false);
            block.push(&bytes);
            block.is_broken();
            block.has_pseudo_field();
        }
    }
}
