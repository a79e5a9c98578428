//! From tapped bytes to TLS records and messages (RFC 8446, RFC 5246): sans-io, and bounded by what the tap kept.
//!
//! What is in clear everybody can name. In TLS 1.3 all that follows the ServerHello is sealed and looks like application
//! data; it is named with the secrets of our own connection, and where they are missing it stays "encrypted".

use super::hello::{self, ClientHello, ServerHello};
use super::secrets::{Opener, Secret};
use crate::net::tap::Way;

/// Bytes of a record's header, always in clear.
pub const HEADER: usize = 5;
/// A handshake message longer than this is not gathered.
const MAX_MESSAGE: usize = 256 << 10;

/// A record as a listener sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Content type in clear: 20, 21, 22 or 23.
    pub kind: u8,
    /// Where it starts in its direction.
    pub start: u64,
    /// Bytes with its header.
    pub len: u64,
}

/// What a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Handshake,
    ChangeCipherSpec,
    /// A session ticket: for a later connection.
    Ticket,
    Application,
    Alert,
    /// Sealed, and no secret opens it.
    Unknown,
}

/// A message of TLS, with what carried it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub way: Way,
    pub name: &'static str,
    pub role: Role,
    /// Bytes of the message itself; for application data those of the application.
    pub size: usize,
    /// Where the first record that holds a piece of it starts, and where the last one ends.
    pub start: u64,
    pub end: u64,
    /// Encrypted on the wire.
    pub sealed: bool,
}

/// The TLS side of one connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conversation {
    /// Each way in its own order: ours first, then the server's.
    pub messages: Vec<Message>,
    pub sent: Vec<Record>,
    pub received: Vec<Record>,
    pub client_hello: Option<ClientHello>,
    pub server_hello: Option<ServerHello>,
}

impl Conversation {
    pub fn of(&self, way: Way) -> impl Iterator<Item = &Message> {
        self.messages.iter().filter(move |message| message.way == way)
    }
}

/// Reads both directions of a connection.
pub fn read(sent: &[u8], received: &[u8], secrets: &[Secret]) -> Conversation {
    let mut talk = Conversation { sent: split(sent), received: split(received), ..Conversation::default() };
    let hellos = |bytes, records: &[Record], kind| {
        let mut reader = Reader::new(Way::Sent, None);
        records.iter().for_each(|record| reader.record(bytes, record));
        reader.first(kind).map(<[u8]>::to_vec)
    };
    talk.client_hello = hellos(sent, &talk.sent, 1).and_then(|body| hello::client_hello(&body));
    talk.server_hello = hellos(received, &talk.received, 2).and_then(|body| hello::server_hello(&body));
    for (way, bytes) in [(Way::Sent, sent), (Way::Received, received)] {
        let sealed = talk.server_hello.map(|hello| Sealed::new(way, hello, secrets));
        let mut reader = Reader::new(way, sealed);
        let records = if way == Way::Sent { &talk.sent } else { &talk.received };
        records.iter().for_each(|record| reader.record(bytes, record));
        talk.messages.append(&mut reader.messages);
    }
    talk
}

/// The whole records at the front of one direction.
pub fn split(bytes: &[u8]) -> Vec<Record> {
    let (mut records, mut start) = (Vec::new(), 0);
    while let Some(header) = bytes.get(start..start + HEADER) {
        let len = HEADER + usize::from(u16::from_be_bytes([header[3], header[4]]));
        if !(20..=23).contains(&header[0]) || header[1] != 3 || bytes.len() < start + len {
            break;
        }
        records.push(Record { kind: header[0], start: start as u64, len: len as u64 });
        start += len;
    }
    records
}

/// How the sealed records of one direction are read.
struct Sealed {
    tls13: bool,
    /// Bytes that TLS 1.2's encryption adds to a record.
    added: usize,
    handshake: Option<Opener>,
    application: Option<Opener>,
}

impl Sealed {
    fn new(way: Way, hello: ServerHello, secrets: &[Secret]) -> Sealed {
        let opener = |label: String| {
            let secret = secrets.iter().find(|secret| secret.label == label)?;
            Opener::new(hello.cipher_suite, &secret.secret)
        };
        let side = if way == Way::Sent { "CLIENT" } else { "SERVER" };
        // AES-GCM sends eight bytes of its nonce, ChaCha20 none; both have a tag of sixteen.
        let added = if matches!(hello.cipher_suite, 0xcca8..=0xccaa) { 16 } else { 24 };
        Sealed {
            tls13: hello.version == 0x0304,
            added,
            handshake: opener(format!("{side}_HANDSHAKE_TRAFFIC_SECRET")),
            application: opener(format!("{side}_TRAFFIC_SECRET_0")),
        }
    }
}

struct Reader {
    way: Way,
    sealed: Option<Sealed>,
    messages: Vec<Message>,
    /// A handshake message in pieces, and where its first record starts.
    pending: Vec<u8>,
    pending_start: u64,
    /// TLS 1.2: what follows is encrypted.
    changed: bool,
    /// TLS 1.3: the peer's Finished has passed, so the traffic secrets are the application's.
    finished: bool,
    bodies: Vec<(u8, Vec<u8>)>,
}

impl Reader {
    fn new(way: Way, sealed: Option<Sealed>) -> Reader {
        Reader {
            way,
            sealed,
            messages: Vec::new(),
            pending: Vec::new(),
            pending_start: 0,
            changed: false,
            finished: false,
            bodies: Vec::new(),
        }
    }

    /// The body of the first clear handshake message of a kind.
    fn first(&self, kind: u8) -> Option<&[u8]> {
        self.bodies.iter().find(|(found, _)| *found == kind).map(|(_, body)| body.as_slice())
    }

    fn record(&mut self, bytes: &[u8], record: &Record) {
        // `split` has made the record out of these bytes.
        let Some(raw) = bytes.get(record.start as usize..(record.start + record.len) as usize) else { return };
        let content = &raw[HEADER..];
        match (record.kind, self.changed) {
            (20, _) => {
                self.changed = self.sealed.as_ref().is_some_and(|sealed| !sealed.tls13);
                self.push("ChangeCipherSpec", Role::ChangeCipherSpec, 1, record, false);
            }
            (22, false) => self.handshake(content, record, false),
            // TLS 1.2: the one handshake message behind ChangeCipherSpec.
            (22, true) => self.push("Finished", Role::Handshake, 16, record, true),
            (21, false) => self.alert(content, record, false),
            (21, true) => self.push("alert", Role::Alert, 2, record, true),
            _ => self.application(raw, record),
        }
    }

    /// A record of type 23: anything in TLS 1.3, the application's data in TLS 1.2.
    fn application(&mut self, raw: &[u8], record: &Record) {
        let Some(sealed) = &mut self.sealed else {
            return self.push("encrypted", Role::Unknown, raw.len() - HEADER, record, true);
        };
        if !sealed.tls13 {
            let size = (raw.len() - HEADER).saturating_sub(sealed.added);
            return self.push("application data", Role::Application, size, record, true);
        }
        let opener = if self.finished { &mut sealed.application } else { &mut sealed.handshake };
        match opener.as_mut().and_then(|opener| opener.open(raw)) {
            Some((22, content)) => self.handshake(&content, record, true),
            Some((21, content)) => self.alert(&content, record, true),
            Some((23, content)) => self.push("application data", Role::Application, content.len(), record, true),
            _ => self.push("encrypted", Role::Unknown, raw.len() - HEADER, record, true),
        }
    }

    fn handshake(&mut self, content: &[u8], record: &Record, sealed: bool) {
        if self.pending.is_empty() {
            self.pending_start = record.start;
        }
        self.pending.extend_from_slice(content);
        while let [kind, a, b, c, rest @ ..] = self.pending.as_slice() {
            let kind = *kind;
            let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            if length > MAX_MESSAGE {
                self.pending.clear();
                return self.push("encrypted", Role::Unknown, content.len(), record, sealed);
            }
            let Some(body) = rest.get(..length) else { return };
            if self.bodies.len() < 8 && matches!(kind, 1 | 2) {
                self.bodies.push((kind, body.to_vec()));
            }
            let name = self.name(kind, body);
            let role = if kind == 4 { Role::Ticket } else { Role::Handshake };
            self.messages.push(Message {
                way: self.way,
                name,
                role,
                size: 4 + length,
                start: self.pending_start,
                end: record.start + record.len,
                sealed,
            });
            self.finished |= kind == 20;
            self.pending.drain(..4 + length);
            self.pending_start = record.start;
        }
    }

    fn name(&self, kind: u8, body: &[u8]) -> &'static str {
        match kind {
            0 => "HelloRequest",
            1 => "ClientHello",
            2 if hello::server_hello(body).is_some_and(|hello| hello.retry) => "HelloRetryRequest",
            2 => "ServerHello",
            4 => "NewSessionTicket",
            8 => "EncryptedExtensions",
            11 => "Certificate",
            12 => "ServerKeyExchange",
            13 => "CertificateRequest",
            14 => "ServerHelloDone",
            15 => "CertificateVerify",
            16 => "ClientKeyExchange",
            20 => "Finished",
            22 => "CertificateStatus",
            24 => "KeyUpdate",
            25 => "CompressedCertificate",
            _ => "handshake message",
        }
    }

    fn alert(&mut self, content: &[u8], record: &Record, sealed: bool) {
        let name = match content.get(1) {
            Some(0) => "close_notify",
            Some(40) => "alert handshake_failure",
            Some(42) => "alert bad_certificate",
            Some(48) => "alert unknown_ca",
            Some(70) => "alert protocol_version",
            Some(112) => "alert unrecognized_name",
            _ => "alert",
        };
        self.push(name, Role::Alert, content.len(), record, sealed);
    }

    fn push(&mut self, name: &'static str, role: Role, size: usize, record: &Record, sealed: bool) {
        let (start, end) = (record.start, record.start + record.len);
        self.messages.push(Message { way: self.way, name, role, size, start, end, sealed });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_records_never_overlap(
            sent in prop::collection::vec(any::<u8>(), 0..400),
            kinds in prop::collection::vec((20u8..24, prop::collection::vec(any::<u8>(), 0..40)), 0..12),
        ) {
            let mut received = Vec::new();
            for (kind, content) in kinds {
                received.extend([kind, 3, 3, 0, content.len() as u8]);
                received.extend(content);
            }
            let talk = read(&sent, &received, &[]);
            let mut end = 0;
            for record in &talk.received {
                prop_assert_eq!(record.start, end);
                end += record.len;
            }
            prop_assert_eq!(end, received.len() as u64);
            prop_assert!(talk.messages.iter().all(|m| m.start < m.end));
        }
    }

    #[test]
    fn a_message_may_span_records_and_a_record_hold_several_messages() {
        // ServerHelloDone twice in one record, then ClientKeyExchange of three bytes over two records.
        let bytes = [
            22, 3, 3, 0, 8, 14, 0, 0, 0, 14, 0, 0, 0, // two messages
            22, 3, 3, 0, 5, 16, 0, 0, 3, 1, // the first piece
            22, 3, 3, 0, 2, 2, 3, // the second
        ];
        let talk = read(&[], &bytes, &[]);
        let seen: Vec<_> = talk.messages.iter().map(|m| (m.name, m.size, m.start, m.end)).collect();
        assert_eq!(
            seen,
            [("ServerHelloDone", 4, 0, 13), ("ServerHelloDone", 4, 0, 13), ("ClientKeyExchange", 7, 13, 30)]
        );
    }
}
