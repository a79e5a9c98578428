//! Header fields as one buffer and a list of spans: the representation every protocol is read into and written from.
//!
//! A head costs two allocations whatever the number of fields, keeps order and spelling, and a lookup of a name the
//! proxy knows compares one byte a field.

use std::ops::Range;

use super::{Known, KnownSet};

/// Between name and value.
const SEPARATOR: &[u8] = b": ";

/// A piece of the buffer of a [`Fields`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    len: u32,
}

impl Span {
    /// Heads are bounded far below 4 GiB by `limits.header_bytes`, so the casts keep their value.
    pub fn new(start: usize, len: usize) -> Span {
        Span { start: start as u32, len: len as u32 }
    }

    pub fn len(self) -> usize {
        self.len as usize
    }

    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    fn of(self, bytes: &[u8]) -> &[u8] {
        let start = self.start as usize;
        bytes.get(start..start + self.len as usize).unwrap_or_default()
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    known: Known,
    name: Span,
    value: Span,
}

/// The header fields of a message, in order, names spelled as they came.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// The known names of all fields there have ever been: what is not in here need not be looked for.
    seen: KnownSet,
}

/// One field, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    pub known: Known,
    pub name: &'a [u8],
    pub value: &'a [u8],
}

impl Fields {
    pub fn with_capacity(bytes: usize, fields: usize) -> Fields {
        Fields { bytes: Vec::with_capacity(bytes), entries: Vec::with_capacity(fields), seen: KnownSet::default() }
    }

    /// Starts from a raw head: `bytes` is kept whole, spans are added with [`Fields::push_span`].
    pub fn from_raw(raw: &[u8], fields: usize) -> Fields {
        // Room for what a proxy adds, so that the buffer does not grow on the request path.
        let mut bytes = Vec::with_capacity(raw.len() + 256);
        bytes.extend_from_slice(raw);
        Fields { bytes, entries: Vec::with_capacity(fields + 6), seen: KnownSet::default() }
    }

    /// Adds a field that stands in the buffer already.
    pub fn push_span(&mut self, name: Span, value: Span) -> Known {
        let known = Known::classify(name.of(&self.bytes));
        self.entries.push(Entry { known, name, value });
        self.seen = self.seen.with(known);
        known
    }

    /// Appends bytes to the buffer, for spans kept outside the list (a target, an authority).
    pub fn store(&mut self, bytes: &[u8]) -> Span {
        let span = Span::new(self.bytes.len(), bytes.len());
        self.bytes.extend_from_slice(bytes);
        span
    }

    /// The bytes of a span of this buffer.
    pub fn bytes(&self, span: Span) -> &[u8] {
        span.of(&self.bytes)
    }

    /// Adds a field at the end. The caller vouches for the grammar of name and value.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        self.push_parts(name, &[value]);
    }

    /// As [`Fields::push`] for a name that the proxy writes itself, given as the beginning of its line: with `": "`.
    #[inline]
    pub fn push_known<const N: usize>(&mut self, known: Known, line: &'static [u8; N], value: &[u8]) {
        self.push_known_line(known, line, |bytes| bytes.extend_from_slice(value));
    }

    /// As [`Fields::push_known`] for a value that stands in the buffer.
    #[inline]
    pub fn push_known_copy<const N: usize>(&mut self, known: Known, line: &'static [u8; N], value: Span) {
        let start = value.start as usize;
        let range = start..start + value.len();
        if range.end <= self.bytes.len() {
            self.push_known_line(known, line, |bytes| bytes.extend_from_within(range));
        }
    }

    #[inline]
    fn push_known_line<const N: usize>(
        &mut self,
        known: Known,
        line: &'static [u8; N],
        value: impl FnOnce(&mut Vec<u8>),
    ) {
        let name = Span::new(self.bytes.len(), N - SEPARATOR.len());
        debug_assert!(line.ends_with(SEPARATOR) && Known::classify(&line[..name.len()]) == known);
        self.bytes.extend_from_slice(line);
        let start = self.bytes.len();
        value(&mut self.bytes);
        let value = Span::new(start, self.bytes.len() - start);
        self.bytes.extend_from_slice(b"\r\n");
        self.entries.push(Entry { known, name, value });
        self.seen = self.seen.with(known);
    }

    /// As [`Fields::push`] for a value in parts, joined without a copy in between.
    pub fn push_parts(&mut self, name: &[u8], parts: &[&[u8]]) {
        self.push_line(name, |bytes| parts.iter().for_each(|part| bytes.extend_from_slice(part)));
    }

    /// Fields stand in the buffer as the lines they are written as.
    fn push_line(&mut self, name: &[u8], value: impl FnOnce(&mut Vec<u8>)) {
        let name = self.store(name);
        self.bytes.extend_from_slice(SEPARATOR);
        let start = self.bytes.len();
        value(&mut self.bytes);
        let value = Span::new(start, self.bytes.len() - start);
        self.bytes.extend_from_slice(b"\r\n");
        self.push_span(name, value);
    }

    /// Writes a line for each field that `keep` passes, spelled as it came. Lines that stand one behind the other are
    /// written in one piece, which for a head that passes as it came is all of it.
    pub fn write_lines(&self, out: &mut Vec<u8>, keep: impl Fn(Known) -> bool) {
        let mut run = 0..0;
        for entry in self.entries.iter().filter(|entry| keep(entry.known)) {
            match self.line(entry) {
                Some(line) if line.start == run.end => run.end = line.end,
                Some(line) => out.extend_from_slice(self.range(std::mem::replace(&mut run, line))),
                None => {
                    out.extend_from_slice(self.range(std::mem::take(&mut run)));
                    let parts = [entry.name.of(&self.bytes), b": ", entry.value.of(&self.bytes), b"\r\n"];
                    parts.into_iter().for_each(|part| out.extend_from_slice(part));
                }
            }
        }
        out.extend_from_slice(self.range(run));
    }

    fn range(&self, range: Range<usize>) -> &[u8] {
        self.bytes.get(range).unwrap_or_default()
    }

    /// Where a field stands as a line that can be written as it is: `name: value` and CRLF.
    fn line(&self, entry: &Entry) -> Option<Range<usize>> {
        let start = entry.name.start as usize;
        let colon = start + entry.name.len();
        let value = entry.value.start as usize;
        let end = value + entry.value.len();
        let is_line = value == colon + 2 && self.range(colon..value) == b": " && self.range(end..end + 2) == b"\r\n";
        is_line.then_some(start..end + 2)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.entries.iter().map(|e| Field {
            known: e.known,
            name: e.name.of(&self.bytes),
            value: e.value.of(&self.bytes),
        })
    }

    /// The first value of a known name.
    pub fn get(&self, known: Known) -> Option<&[u8]> {
        if !self.seen.contains(known) {
            return None;
        }
        self.entries.iter().find(|e| e.known == known).map(|e| e.value.of(&self.bytes))
    }

    /// Every value of a known name, in order.
    pub fn all(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        let entries = if self.seen.contains(known) { self.entries.as_slice() } else { &[] };
        entries.iter().filter(move |e| e.known == known).map(|e| e.value.of(&self.bytes))
    }

    pub fn has(&self, known: Known) -> bool {
        self.seen.contains(known) && self.entries.iter().any(|e| e.known == known)
    }

    /// Where a known name's first value stands in the buffer.
    pub fn span(&self, known: Known) -> Option<Span> {
        self.entries.iter().find(|e| e.known == known).map(|e| e.value)
    }

    /// The first value of any name, compared without case.
    pub fn get_name(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter().find(|f| f.name.eq_ignore_ascii_case(name)).map(|f| f.value)
    }

    /// Keeps the fields for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(Field<'_>) -> bool) {
        let bytes = &self.bytes;
        self.entries.retain(|e| keep(Field { known: e.known, name: e.name.of(bytes), value: e.value.of(bytes) }));
    }

    pub fn remove(&mut self, known: Known) {
        self.remove_all(KnownSet::of(&[known]));
    }

    pub fn remove_all(&mut self, known: KnownSet) {
        if self.may_have(known) {
            self.entries.retain(|e| !known.contains(e.known));
        }
    }

    /// False where none of these can be there, which costs nothing to find out.
    pub fn may_have(&self, known: KnownSet) -> bool {
        self.seen.meets(known)
    }

    pub fn remove_name(&mut self, name: &[u8]) {
        self.retain(|f| !f.name.eq_ignore_ascii_case(name));
    }

    /// Replaces every field of this name by one.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        self.remove_name(name);
        self.push(name, value);
    }

    /// Gives the buffer away with the spans of each field: for a protocol library that shares the bytes.
    pub fn into_parts(self) -> (Vec<u8>, impl Iterator<Item = (Known, Range<usize>, Range<usize>)>) {
        let range = |s: Span| s.start as usize..(s.start + s.len) as usize;
        (self.bytes, self.entries.into_iter().map(move |e| (e.known, range(e.name), range(e.value))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_order_spelling_and_duplicates() {
        let mut fields = Fields::default();
        fields.push(b"Set-Cookie", b"a=1");
        fields.push(b"X-Two", b"2");
        fields.push(b"set-cookie", b"b=2");
        let seen: Vec<_> = fields.iter().map(|f| (f.name.to_vec(), f.value.to_vec())).collect();
        assert_eq!(seen[0], (b"Set-Cookie".to_vec(), b"a=1".to_vec()));
        assert_eq!(seen[2].0, b"set-cookie");
        assert_eq!(fields.get_name(b"SET-COOKIE"), Some(&b"a=1"[..]));
    }

    #[test]
    fn setting_a_field_replaces_all_of_its_name() {
        let mut fields = Fields::default();
        fields.push(b"A", b"1");
        fields.push(b"a", b"2");
        fields.set(b"A", b"3");
        assert_eq!(fields.iter().map(|f| f.value.to_vec()).collect::<Vec<_>>(), [b"3".to_vec()]);
        fields.push_parts(b"B", &[b"x", b"y"]);
        assert_eq!(fields.get_name(b"b"), Some(&b"xy"[..]));
    }

    #[test]
    fn fields_are_written_a_line_each_whatever_their_place_in_the_buffer() {
        let raw = b"GET / HTTP/1.1\r\nA: 1\r\nB:2\r\nC:  3 \r\nD: 4\r\nE: 5\r\n\r\n";
        let mut fields = Fields::from_raw(raw, 5);
        for (name, value) in [(16, 19), (22, 24), (27, 31), (35, 38), (41, 44)] {
            fields.push_span(Span::new(name, 1), Span::new(value, 1));
        }
        fields.push(b"F", b"6");
        let authority = Span::new(4, 1);
        fields.push_known_copy(Known::XForwardedHost, b"X-Forwarded-Host: ", authority);
        let first = fields.store(b"H");
        fields.push_span(first, authority);
        let mut out = Vec::new();
        fields.write_lines(&mut out, |_| true);
        assert_eq!(out, b"A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\nF: 6\r\nX-Forwarded-Host: /\r\nH: /\r\n");
        fields.remove_name(b"d");
        fields.push_known(Known::Via, b"Via: ", b"x");
        out.clear();
        fields.write_lines(&mut out, |known| known != Known::Via);
        assert_eq!(out, b"A: 1\r\nB: 2\r\nC: 3\r\nE: 5\r\nF: 6\r\nX-Forwarded-Host: /\r\nH: /\r\n");
    }

    #[test]
    fn a_field_that_is_gone_is_not_found_and_one_that_comes_back_is() {
        let mut fields = Fields::default();
        assert!(!fields.has(Known::Via) && !fields.may_have(KnownSet::of(&[Known::Via, Known::Te])));
        fields.push(b"Via", b"1");
        fields.remove_all(KnownSet::of(&[Known::Via]));
        assert!(!fields.has(Known::Via) && fields.get(Known::Via).is_none());
        fields.push(b"via", b"2");
        assert_eq!(fields.get(Known::Via), Some(&b"2"[..]));
    }
}
