//! `[upstreams.NAME] tls`.

use super::{Checker, hosts};
use crate::config::diagnostics::{Checked, Diagnostic};
use crate::config::value::{Table, quote};
use crate::config::{CertFiles, ServerAddress, UpstreamTls};

impl Checker<'_> {
    /// The TLS settings of an upstream with these servers.
    pub(super) fn upstream_tls(&mut self, upstream: &Table, servers: &[ServerAddress]) -> UpstreamTls {
        let mut tls = UpstreamTls::default();
        let Some((node, table)) = upstream.get("tls").and_then(|node| Some((node, node.table()?))) else {
            return tls;
        };
        if !servers.is_empty() && !servers.iter().any(|server| server.protocol.is_tls()) {
            let diagnostic = Diagnostic::error("tls-unused", "no server of this upstream is spoken to over TLS")
                .label("acts on nothing")
                .help("write the servers as \"https://host:port\", or protocol = \"h2\"");
            self.report(diagnostic, node.at);
        }
        if table.has("ca") {
            tls.ca = self.file(table, "ca", node.at);
        }
        if table.has("client_cert") || table.has("client_key") {
            let cert = self.file(table, "client_cert", node.at);
            let key = self.file(table, "client_key", node.at);
            if let (Some((cert, cert_origin)), Some((key, key_origin))) = (cert, key) {
                tls.client = Some(CertFiles { cert, key, cert_origin, key_origin });
            }
        }
        tls.server_name = table.get("server_name").and_then(|node| self.take(server_name(node.text()?), node.at));
        if let (Some(false), Some(node)) = (table.bool("verify"), table.get("verify")) {
            tls.verify = false;
            let mut diagnostic =
                Diagnostic::warning("tls-not-verified", "certificates of this upstream are not verified")
                    .label("anybody on the way can be the server")
                    .help("name its root in `ca`, and the name it has in `server_name`");
            if tls.ca.is_some() {
                diagnostic = diagnostic.note("`ca` acts only while certificates are verified");
            }
            self.report(diagnostic, node.at);
        }
        tls
    }
}

/// A host name or an address, without a port.
fn server_name(text: &str) -> Checked<String> {
    if let Some(address) = hosts::ip(text) {
        return Ok(address.to_string());
    }
    hosts::name(text).map_err(|why| {
        Diagnostic::error("bad-host", format!("{} is no name of a server: it {why}", quote(text)))
            .label("not a host name")
            .boxed()
    })
}
