//! As much of protocol buffers as OTLP needs: messages are written, none is read.

/// A message that grows field by field.
#[derive(Debug, Default)]
pub(super) struct Message(Vec<u8>);

/// Wire types (protobuf.dev, "Encoding").
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;

impl Message {
    fn tag(&mut self, field: u64, kind: u64) {
        self.varint(field << 3 | kind);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    pub fn number(&mut self, field: u64, value: u64) {
        self.tag(field, VARINT);
        self.varint(value);
    }

    pub fn fixed64(&mut self, field: u64, value: u64) {
        self.tag(field, FIXED64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub fn bytes(&mut self, field: u64, value: &[u8]) {
        self.tag(field, LENGTH);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    pub fn message(&mut self, field: u64, value: Message) {
        self.bytes(field, &value.0);
    }

    /// A `KeyValue` of OTLP with a text; what is no UTF-8 in it is replaced.
    pub fn text_attribute(&mut self, field: u64, key: &str, value: &[u8]) {
        let mut any = Message::default();
        any.bytes(1, String::from_utf8_lossy(value).as_bytes());
        self.attribute(field, key, any);
    }

    /// A `KeyValue` of OTLP with a number.
    pub fn number_attribute(&mut self, field: u64, key: &str, value: u64) {
        let mut any = Message::default();
        any.number(3, value);
        self.attribute(field, key, any);
    }

    fn attribute(&mut self, field: u64, key: &str, value: Message) {
        let mut pair = Message::default();
        pair.bytes(1, key.as_bytes());
        pair.message(2, value);
        self.message(field, pair);
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_written_as_the_specification_shows() {
        let mut message = Message::default();
        message.number(1, 150);
        message.bytes(2, b"testing");
        message.fixed64(3, 1);
        assert_eq!(message.into_bytes(), b"\x08\x96\x01\x12\x07testing\x19\x01\0\0\0\0\0\0\0");
    }

    #[test]
    fn an_attribute_is_a_pair_of_a_key_and_a_value() {
        let mut message = Message::default();
        message.text_attribute(9, "k", b"v");
        message.number_attribute(9, "n", 1);
        assert_eq!(message.into_bytes(), b"\x4a\x08\x0a\x01k\x12\x03\x0a\x01v\x4a\x07\x0a\x01n\x12\x02\x18\x01");
    }
}
