//! What a worker notes of a request, and the thread that writes the lines reads: numbers in a row, and texts one behind the
//! other. Making a line of it takes ten times as long, and not the worker's time.

use std::time::SystemTime;

use super::{Line, Times};
use crate::error::Why;
use crate::message::{Known, Version};
use crate::net::clock;

/// The texts of a request, in the order in which they are noted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Text {
    Client,
    Method,
    Authority,
    Target,
    Referer,
    UserAgent,
    User,
    /// The nearest route, where none was met.
    Nearest,
    /// Site and route as the JSON format writes them.
    Place,
    Server,
    TlsVersion,
    Cipher,
    Group,
    Sni,
}

const TEXTS: usize = Text::Sni as usize + 1;
/// The length of a text that is not there.
const NONE: u32 = u32::MAX;

/// The numbers of a request.
#[derive(Debug)]
pub(super) struct Note {
    pub at: SystemTime,
    pub request_id: u64,
    pub status: u16,
    pub bytes: u64,
    pub received: u64,
    pub why: Option<Why>,
    pub would_refuse: Option<Why>,
    pub attempts: u32,
    pub times: Times,
    /// The upper and the lower half.
    pub trace_id: Option<[u64; 2]>,
    /// None where the bytes never became a request.
    pub version: Option<Version>,
    /// The TLS session speaks HTTP/2, and is one that was taken up again.
    pub h2: bool,
    pub resumed: bool,
    lengths: [u32; TEXTS],
}

/// A request, as the formats read it.
#[derive(Debug)]
pub(super) struct Noted<'a> {
    pub note: &'a Note,
    texts: [Option<&'a [u8]>; TEXTS],
}

/// The requests of one worker that wait to be written.
#[derive(Debug, Default)]
pub(super) struct Notes {
    notes: Vec<Note>,
    texts: Vec<u8>,
}

impl Notes {
    pub fn push(&mut self, line: &Line<'_>) {
        let (head, tls) = (line.head, line.conn.tls.as_ref());
        let field = |known| head.and_then(|head| head.fields.get(known));
        let texts: [Option<&[u8]>; TEXTS] = [
            Some(line.client_ip.as_bytes()),
            head.map(|head| head.method.as_str().as_bytes()),
            head.map(|head| head.authority()),
            head.map(|head| head.target()),
            field(Known::Referer),
            field(Known::UserAgent),
            line.user.map(str::as_bytes),
            line.nearest.map(str::as_bytes),
            line.place.map(|place| place.json),
            line.server.map(str::as_bytes),
            tls.map(|tls| tls.version.as_bytes()),
            tls.map(|tls| tls.cipher.as_bytes()),
            tls.map(|tls| tls.group.as_bytes()),
            tls.and_then(|tls| tls.sni.as_deref()).map(str::as_bytes),
        ];
        let mut lengths = [NONE; TEXTS];
        for (length, text) in lengths.iter_mut().zip(texts) {
            if let Some(text) = text {
                // Heads are bounded far below 4 GiB by `limits.header_bytes`.
                *length = text.len() as u32;
                self.texts.extend_from_slice(text);
            }
        }
        self.notes.push(Note {
            at: clock::wall(),
            request_id: line.request_id,
            status: line.status,
            bytes: line.bytes,
            received: line.received,
            why: line.why,
            would_refuse: line.would_refuse,
            attempts: line.attempts,
            times: line.times,
            trace_id: line.trace_id.map(|id| [(id >> 64) as u64, id as u64]),
            version: head.map(|head| head.version),
            h2: tls.is_some_and(|tls| tls.h2),
            resumed: tls.is_some_and(|tls| tls.resumed),
            lengths,
        });
    }

    /// Every request, in order.
    pub fn iter(&self) -> impl Iterator<Item = Noted<'_>> {
        let mut rest = self.texts.as_slice();
        self.notes.iter().map(move |note| {
            let texts = note.lengths.map(|length| {
                let (text, behind) = rest.split_at_checked(length as usize).filter(|_| length != NONE)?;
                rest = behind;
                Some(text)
            });
            Noted { note, texts }
        })
    }

    pub fn len(&self) -> usize {
        self.notes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.notes.is_empty()
    }

    /// Takes over all of the other's, behind its own.
    pub fn append(&mut self, other: &mut Notes) {
        if self.is_empty() {
            std::mem::swap(self, other);
        } else {
            self.notes.append(&mut other.notes);
            self.texts.append(&mut other.texts);
        }
    }

    /// Bytes that are held.
    pub fn size(&self) -> usize {
        self.notes.len() * size_of::<Note>() + self.texts.len()
    }

    /// Forgets all of them. A burst does not keep its memory: at most `kept` bytes stay for the next ones.
    pub fn clear(&mut self, kept: usize) {
        self.notes.clear();
        self.texts.clear();
        self.notes.shrink_to(kept / 2 / size_of::<Note>());
        self.texts.shrink_to(kept / 2);
    }
}

impl<'a> Noted<'a> {
    pub fn text(&self, which: Text) -> Option<&'a [u8]> {
        self.texts[which as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::line;
    use super::*;
    use crate::http::ConnInfo;

    #[test]
    fn requests_are_read_as_they_were_noted() {
        let peer = "127.0.0.1:9".parse().unwrap();
        let conn = ConnInfo::new(peer, peer, 0, None);
        let mut notes = Notes::default();
        for status in 200..203 {
            let server = (status != 201).then_some("127.0.0.1:3000");
            let user = if status == 201 { "" } else { "ann" };
            notes.push(&Line { status, server, user: Some(user), ..line(&conn, "::1") });
        }
        let read: Vec<_> = notes.iter().collect();
        let texts = |which| read.iter().map(|noted| noted.text(which)).collect::<Vec<_>>();
        assert_eq!(read.iter().map(|noted| noted.note.status).collect::<Vec<_>>(), [200, 201, 202]);
        assert_eq!(texts(Text::Client), [Some(&b"::1"[..]); 3]);
        assert_eq!(texts(Text::User), [Some(&b"ann"[..]), Some(b""), Some(b"ann")]);
        assert_eq!(texts(Text::Server), [Some(&b"127.0.0.1:3000"[..]), None, Some(b"127.0.0.1:3000")]);
        assert_eq!(texts(Text::Sni), [None; 3]);
        assert!(notes.size() > 3 * size_of::<Note>());
        let mut more = Notes::default();
        more.push(&line(&conn, "::2"));
        notes.append(&mut more);
        assert!(more.is_empty() && notes.len() == 4);
        assert_eq!(notes.iter().last().unwrap().text(Text::Client), Some(&b"::2"[..]));
        notes.clear(0);
        assert!(notes.is_empty() && notes.size() == 0);
    }
}
