//! `[metrics]` and `[tracing]`.

use super::BindAddress;

/// `[metrics]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metrics {
    /// Where `GET /metrics` is answered.
    pub listen: BindAddress,
}

/// `[tracing]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Tracing {
    pub collector: Collector,
    /// The share of requests traced of those that bring no decision with them, 0 to 1.
    pub sample: f32,
}

/// Where spans go: OTLP over HTTP in clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collector {
    /// A name or an address, without brackets.
    pub host: String,
    pub port: u16,
    /// The path of the request, `/v1/traces` where the URL has none.
    pub path: String,
}
