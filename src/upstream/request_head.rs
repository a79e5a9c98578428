//! The request head a server gets.

use super::{Endpoint, h2};
use crate::config::{self, HostHeader};
use crate::error::Why;
use crate::h1;
use crate::message::{Framing, Known, RequestHead};

/// What is sent to a server: the client's head, prepared, with the path the route makes of it.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    pub head: &'a RequestHead,
    /// Path and query; the client's own octets unless a route strips or rewrites.
    pub target: &'a [u8],
    pub host: &'a HostHeader,
}

impl Outgoing<'_> {
    /// What goes into Host or `:authority`.
    pub(super) fn authority<'s>(&'s self, server: &'s str) -> &'s [u8] {
        match self.host {
            HostHeader::Preserve if !self.head.authority().is_empty() => self.head.authority(),
            HostHeader::Name(name) => name.as_bytes(),
            // An HTTP/1.0 client may have named no host, and HTTP/1.1 needs one.
            HostHeader::Preserve | HostHeader::Upstream if server.starts_with("unix:") => b"localhost",
            // The domain behind the service and protocol of an SRV record.
            HostHeader::Preserve | HostHeader::Upstream => match server.strip_prefix("srv:") {
                Some(name) => config::srv_domain(name).as_bytes(),
                None => server.as_bytes(),
            },
        }
    }

    /// The head as a server gets it: HTTP/1.1, or the fields of HTTP/2 a line each.
    ///
    /// # Errors
    /// It has characters that do not go over HTTP/2.
    pub fn as_sent_to(&self, endpoint: &Endpoint) -> Result<Vec<u8>, Why> {
        if endpoint.protocol.is_h2() {
            return h2::head_as_text(self, &endpoint.label, endpoint.protocol.is_tls());
        }
        let mut out = Vec::new();
        self.write(&mut out, &endpoint.label);
        Ok(out)
    }

    /// Writes the head as canonical HTTP/1.1, whatever the client spoke: one Host, one framing field. `server` is the
    /// address in text.
    pub fn write(&self, out: &mut Vec<u8>, server: &str) {
        let head = self.head;
        out.extend_from_slice(head.method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.target);
        out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
        out.extend_from_slice(self.authority(server));
        out.extend_from_slice(b"\r\n");
        head.fields.write_lines(out, |known| !matches!(known, Known::Host | Known::ContentLength));
        match head.framing {
            Framing::Length(length) => h1::write_length(out, length),
            Framing::Chunked | Framing::Close => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
            Framing::None if head.fields.has(Known::ContentLength) => h1::write_length(out, 0),
            Framing::None => {}
        }
        match (head.upgrade_token(), head.takes_trailers) {
            (Some(token), _) => {
                out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: ");
                out.extend_from_slice(token);
                out.extend_from_slice(b"\r\n");
            }
            (None, true) => out.extend_from_slice(b"Connection: TE\r\nTE: trailers\r\n"),
            (None, false) => {}
        }
        out.extend_from_slice(b"\r\n");
    }
}
