//! `[metrics]` and `[tracing]`.

use std::net::SocketAddr;

use super::listeners::address;
use super::{Checker, is_invalid};
use crate::config::diagnostics::{Checked, Diagnostic};
use crate::config::value::{Table, quote};
use crate::config::{BindAddress, Collector, Metrics, Tracing};

/// The port of `metrics.listen`.
const METRICS_PORT: u16 = 9180;
/// The port of OTLP over HTTP.
const OTLP_PORT: u16 = 4318;
/// The path of OTLP over HTTP for traces.
const TRACES: &str = "/v1/traces";
/// `tracing.sample`.
const SAMPLE: f32 = 0.1;

impl Checker<'_> {
    pub(super) fn metrics(&mut self, root: &Table) -> Option<Metrics> {
        let table = root.table("metrics")?;
        let written = table.get("listen").and_then(|node| self.take(address(node.text()?), node.at));
        let default = BindAddress::Exact(SocketAddr::from(([127, 0, 0, 1], METRICS_PORT)));
        Some(Metrics { listen: written.unwrap_or(default) })
    }

    pub(super) fn tracing(&mut self, root: &Table) -> Option<Tracing> {
        let table = root.table("tracing")?;
        let written = table.get("otlp").and_then(|node| self.take(collector(node.text()?), node.at));
        let default = Collector { host: "127.0.0.1".into(), port: OTLP_PORT, path: TRACES.into() };
        let sample = if is_invalid(table, "sample") { None } else { self.share(table, "sample") };
        Some(Tracing { collector: written.unwrap_or(default), sample: sample.unwrap_or(SAMPLE) })
    }
}

/// The URL of a collector; without a path it is the base that `/v1/traces` is added to (OTLP specification, "OTLP/HTTP").
fn collector(text: &str) -> Checked<Collector> {
    let bad = |why: &str| {
        Diagnostic::error("bad-url", format!("{} is no URL of a collector: {why}", quote(text)))
            .label("not a collector")
            .help("OTLP over HTTP is spoken: otlp = \"http://127.0.0.1:4318\"")
            .boxed()
    };
    let url: http::Uri = text.parse().map_err(|_| bad("it is not a URL"))?;
    match url.scheme_str() {
        Some("http") => {}
        Some("https") => return Err(bad("spans are sent in clear, to a collector on this machine or network")),
        _ => return Err(bad("it does not begin with http://")),
    }
    let authority = url.authority().ok_or_else(|| bad("it names no host"))?;
    if authority.as_str().contains('@') {
        return Err(bad("a user does not belong in it"));
    }
    let path = match url.path() {
        "" | "/" => TRACES.into(),
        path => path.trim_end_matches('/').to_owned(),
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    if host.is_empty() {
        return Err(bad("it names no host"));
    }
    Ok(Collector { host, port: authority.port_u16().unwrap_or(OTLP_PORT), path })
}
