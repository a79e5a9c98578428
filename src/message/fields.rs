//! Header fields as one buffer and a list of spans: the representation every protocol is read into and written from.
//!
//! A head costs two allocations whatever the number of fields, keeps order and spelling, and a lookup of a name the
//! proxy knows compares one byte a field.

use super::Known;

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
        Fields { bytes: Vec::with_capacity(bytes), entries: Vec::with_capacity(fields) }
    }

    /// Starts from a raw head: `bytes` is kept whole, spans are added with [`Fields::push_span`].
    pub fn from_raw(raw: &[u8], fields: usize) -> Fields {
        // Room for what a proxy adds, so that the buffer does not grow on the request path.
        let mut bytes = Vec::with_capacity(raw.len() + 256);
        bytes.extend_from_slice(raw);
        Fields { bytes, entries: Vec::with_capacity(fields + 6) }
    }

    /// Adds a field that stands in the buffer already.
    pub fn push_span(&mut self, name: Span, value: Span) -> Known {
        let known = Known::classify(name.of(&self.bytes));
        self.entries.push(Entry { known, name, value });
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
        let name = self.store(name);
        let value = self.store(value);
        self.push_span(name, value);
    }

    /// As [`Fields::push`] for a value in parts, joined without a copy in between.
    pub fn push_parts(&mut self, name: &[u8], parts: &[&[u8]]) {
        let name = self.store(name);
        let start = self.bytes.len();
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        let value = Span::new(start, self.bytes.len() - start);
        self.push_span(name, value);
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
        self.entries.iter().find(|e| e.known == known).map(|e| e.value.of(&self.bytes))
    }

    /// Every value of a known name, in order.
    pub fn all(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().filter(move |e| e.known == known).map(|e| e.value.of(&self.bytes))
    }

    pub fn has(&self, known: Known) -> bool {
        self.entries.iter().any(|e| e.known == known)
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
        self.entries.retain(|e| e.known != known);
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
    pub fn into_parts(
        self,
    ) -> (Vec<u8>, impl Iterator<Item = (Known, std::ops::Range<usize>, std::ops::Range<usize>)>) {
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
}
