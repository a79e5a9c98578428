//! The question: a method, a URL, header fields and where the client is; and the door such a request comes through.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::config::{BindAddress, Config, Origin};
use crate::http::ConnInfo;
use crate::tls::{CertStore, TlsFacts};

/// A request in words.
#[derive(Debug, Clone)]
pub struct Question {
    pub method: String,
    pub https: bool,
    /// Host and port as the URL has them.
    pub authority: String,
    /// Path and query, as they would be sent.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub from: IpAddr,
}

/// The listener a request comes through.
pub(super) struct Door {
    pub name: String,
    pub address: BindAddress,
    pub tls: bool,
    pub origin: Origin,
    /// The name in the ClientHello.
    pub sni: Option<String>,
    index: usize,
}

impl Question {
    /// Reads a URL with http or https.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn new(method: &str, url: &str) -> Result<Question, String> {
        let (scheme, rest) =
            url.split_once("://").ok_or_else(|| format!("`{url}` is no URL: it needs https:// or http://"))?;
        let https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(format!("`{url}` is neither https:// nor http://")),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.is_empty() || authority.contains('@') {
            return Err(format!("`{url}` names no host, or a user"));
        }
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        if let Some(c) = url.chars().chain(method.chars()).find(|c| c.is_whitespace() || c.is_control()) {
            return Err(format!("the request holds `{}`", c.escape_default()));
        }
        Ok(Question {
            method: method.to_owned(),
            https,
            authority: authority.to_owned(),
            target,
            headers: Vec::new(),
            from: IpAddr::V4(Ipv4Addr::LOCALHOST),
        })
    }

    /// Adds a field written as `Name: value`.
    ///
    /// # Errors
    /// A sentence where there is no colon or a line break.
    pub fn header(&mut self, text: &str) -> Result<(), String> {
        let (name, value) =
            text.split_once(':').ok_or_else(|| format!("`{text}` is no header: write 'Name: value'"))?;
        if text.contains(['\r', '\n']) {
            return Err("a header may not hold a line break".to_owned());
        }
        self.headers.push((name.trim().to_owned(), value.trim().to_owned()));
        Ok(())
    }

    /// The URL as it was asked.
    pub fn url(&self) -> String {
        format!("{}://{}{}", if self.https { "https" } else { "http" }, self.authority, self.target)
    }

    /// The head as a client would send it on HTTP/1.1. A `Host` of the question's own replaces the one of the URL.
    pub(super) fn raw(&self) -> Vec<u8> {
        let mut raw = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            raw += &format!("Host: {}\r\n", self.authority);
        }
        for (name, value) in &self.headers {
            raw += &format!("{name}: {value}\r\n");
        }
        raw += "\r\n";
        raw.into_bytes()
    }

    /// The listener for scheme and port. A URL without a port means the first listener of its kind: a container may map
    /// the usual port onto it.
    pub(super) fn door(&self, config: &Config) -> Result<Door, String> {
        let (host, port) = split(&self.authority);
        let kind = if self.https { "https" } else { "http" };
        let wanted = port.unwrap_or(if self.https { 443 } else { 80 });
        let fitting = || config.listeners.iter().enumerate().filter(|(_, listener)| listener.tls == self.https);
        let exact = fitting().find_map(|(index, listener)| {
            let address = listener.addresses.iter().find(|address| address.port() == wanted)?;
            Some((index, *address))
        });
        let public = config.public_https_port.is_some_and(|public| self.https && public == wanted);
        let first = || {
            let (index, listener) = fitting().next().filter(|_| port.is_none() || public)?;
            Some((index, *listener.addresses.first()?))
        };
        let Some((index, address)) = exact.or_else(first) else {
            let there: Vec<_> =
                fitting().flat_map(|(_, listener)| &listener.addresses).map(|a| a.to_string()).collect();
            return Err(match there.is_empty() {
                true => format!("no listener speaks {kind}"),
                false => format!("no listener speaks {kind} on port {wanted}; {kind} is on {}", there.join(", ")),
            });
        };
        let listener = &config.listeners[index];
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let sni =
            (self.https && bare.parse::<IpAddr>().is_err()).then(|| host.trim_end_matches('.').to_ascii_lowercase());
        Ok(Door {
            name: listener.name.clone(),
            address,
            tls: listener.tls,
            origin: listener.origin.clone(),
            sni,
            index,
        })
    }
}

impl Door {
    /// The connection such a client would have.
    pub(super) fn connection(&self, question: &Question, certs: Option<&CertStore>) -> ConnInfo {
        let local = match self.address {
            BindAddress::Exact(address) => address,
            BindAddress::Any(port) => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
        };
        let tls = self.tls.then(|| TlsFacts {
            version: "TLS 1.3",
            cipher: "TLS_AES_128_GCM_SHA256",
            group: "X25519MLKEM768",
            h2: false,
            sni: self.sni.as_deref().map(Into::into),
            resumed: false,
            policy: certs.and_then(|certs| certs.policy_for(self.sni.as_deref())),
            client: None,
        });
        // A port of the client's own: any does.
        ConnInfo::new(SocketAddr::new(question.from, 40_000), local, self.index, tls)
    }
}

/// Host and port of an authority.
fn split(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse().ok()),
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_as_a_client_sends_it() {
        let table = [
            ("https://a.test/x?y#z", "a.test", "/x?y"),
            ("http://a.test:81", "a.test:81", "/"),
            ("HTTPS://[::1]:8443?q", "[::1]:8443", "/?q"),
        ];
        for (url, authority, target) in table {
            let question = Question::new("GET", url).unwrap();
            assert_eq!((question.authority.as_str(), question.target.as_str()), (authority, target), "{url}");
        }
        for url in ["a.test/x", "ftp://a.test", "https://", "https://u@a.test/", "https://a.test/a b"] {
            assert!(Question::new("GET", url).is_err(), "{url}");
        }
        assert!(Question::new("GET /x\r\n", "http://a.test").is_err());
    }
}
