//! Header rules of a route: remove, then set, then add, with values that may name facts of the request.

use std::borrow::Cow;

use super::template::fill;
use crate::config::HeaderRules;
use crate::http::ConnInfo;
use crate::http::headers::Client;
use crate::message::{Fields, Method};
use crate::tls::ClientCert;

/// What the placeholders of a value stand for.
pub struct Facts<'a> {
    pub client: &'a Client,
    pub conn: &'a ConnInfo,
    pub method: &'a Method,
    pub authority: &'a [u8],
    pub target: &'a [u8],
    /// Made when a value wants it.
    pub request_id: &'a dyn Fn() -> String,
}

impl Facts<'_> {
    fn get(&self, word: &str) -> Option<Cow<'_, [u8]>> {
        let text = |text: &'static str| Some(Cow::Borrowed(text.as_bytes()));
        let tls = self.conn.tls.as_ref();
        let (path, query) = match memchr::memchr(b'?', self.target) {
            Some(at) => (&self.target[..at], &self.target[at + 1..]),
            None => (self.target, &b""[..]),
        };
        match word {
            "client_ip" => Some(Cow::Borrowed(self.client.ip.as_bytes())),
            "host" => Some(Cow::Borrowed(self.authority)),
            "scheme" => text(if self.client.https { "https" } else { "http" }),
            "request_id" => Some(Cow::Owned((self.request_id)().into_bytes())),
            "method" => Some(Cow::Borrowed(self.method.as_str().as_bytes())),
            "path" => Some(Cow::Borrowed(path)),
            "query" => Some(Cow::Borrowed(query)),
            "tls.version" => text(tls.map_or("", |tls| tls.version)),
            "tls.cipher" => text(tls.map_or("", |tls| tls.cipher)),
            "tls.group" => text(tls.map_or("", |tls| tls.group)),
            "tls.alpn" => text(tls.map_or("", |tls| if tls.h2 { "h2" } else { "http/1.1" })),
            "tls.sni" => {
                let sni = tls.and_then(|tls| tls.sni.as_deref()).unwrap_or_default();
                Some(Cow::Borrowed(sni.as_bytes()))
            }
            _ => self.client_cert(word.strip_prefix("tls.client.")?),
        }
    }
}

impl Facts<'_> {
    /// A word about the client's certificate; empty without one.
    fn client_cert(&self, word: &str) -> Option<Cow<'_, [u8]>> {
        let cert = self.conn.tls.as_ref().and_then(|tls| tls.client.as_deref());
        let word: fn(&ClientCert) -> &str = match word {
            "subject" => |cert| &cert.subject,
            "issuer" => |cert| &cert.issuer,
            "serial" => |cert| &cert.serial,
            "fingerprint" => |cert| &cert.fingerprint,
            "san" => |cert| &cert.san,
            "not_after" => |cert| &cert.not_after,
            _ => return None,
        };
        Some(Cow::Borrowed(cert.map_or("", word).as_bytes()))
    }
}

/// Applies the rules to the fields of a request or response.
pub fn apply(fields: &mut Fields, rules: &HeaderRules, facts: &Facts<'_>) {
    for name in &rules.remove {
        fields.remove_name(name.as_bytes());
    }
    for (name, value) in &rules.set {
        fields.set(name.as_bytes(), &fill(value, |word| facts.get(word)));
    }
    for (name, value) in &rules.add {
        fields.push(name.as_bytes(), &fill(value, |word| facts.get(word)));
    }
}
