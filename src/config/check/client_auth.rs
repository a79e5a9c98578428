//! `[sites."HOST".tls] client_auth`: certificates asked of clients.

use super::Checker;
use crate::config::diagnostics::Diagnostic;
use crate::config::value::{Node, Table, Value};
use crate::config::{ClientAuth, ClientAuthMode, PlainMode, SiteTls};

impl Checker<'_> {
    /// `tls = { cert, key, client_auth }`. Without files the certificate is what `"auto"` finds.
    pub(super) fn site_tls_table(&mut self, node: &Node) -> SiteTls {
        let table = node.table();
        let only_clients = table.is_some_and(|table| {
            table.has("client_auth") && !table.has("cert") && !table.has("key") && !table.incomplete
        });
        if only_clients {
            return SiteTls::Auto;
        }
        self.cert_files(node).map_or(SiteTls::Auto, SiteTls::Files)
    }

    /// What a site asks of its clients; `None` where it asks nothing, or what it asks was reported.
    pub(super) fn client_auth(&mut self, site: &Table, http: PlainMode) -> Option<Box<ClientAuth>> {
        let node = site.get("tls")?.table()?.get("client_auth")?;
        let table = node.table()?;
        let mode = match table.text("mode") {
            Some("request") => ClientAuthMode::Request,
            _ => ClientAuthMode::Require,
        };
        if mode == ClientAuthMode::Require && matches!(http, PlainMode::Serve | PlainMode::Upgrade) {
            let diagnostic =
                Diagnostic::error("client-auth-plain", "the plain door would let in who has no certificate")
                    .label("required here")
                    .note("over plain HTTP a client shows no certificate")
                    .help("use http = \"redirect\" or \"off\" on this site, or mode = \"request\"");
            self.report(diagnostic, node.at);
        }
        let ca = self.file(table, "ca", node.at);
        let crl = table.get("crl").map(|node| match &node.value {
            Value::List(items) => items.iter().collect(),
            _ => vec![node],
        });
        let crl = crl.into_iter().flatten();
        let crl = crl.filter_map(|node| Some((self.path(node, node.text()?), self.origin(node.at)))).collect();
        Some(Box::new(ClientAuth { mode, ca: ca?, crl, origin: self.origin(node.at) }))
    }
}
