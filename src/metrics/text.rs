//! The families with a series for each route, upstream or server, written by hand: there may be thousands of them with a dozen lines each, and
//! their labels are in text already.

use super::shard::{BOUNDS, CLASSES, METHODS, RETRIED};
use super::{Metrics, RouteShard, Series, Server};

/// The same bounds as in [`BOUNDS`], in seconds.
const SECONDS: [&str; BOUNDS.len() + 1] =
    ["0.001", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "10.0", "+Inf"];

const REQUESTS: &str = "vestibule_requests";
const DURATION: &str = "vestibule_request_duration_seconds";

pub(super) fn routes(metrics: &Metrics, out: &mut String) {
    // Routes that share a series stand once, and those without a request not at all.
    let used = |series: &&Series<RouteShard>| {
        series.shards.iter().any(|shard| shard.durations.iter().any(|count| count.get() > 0))
    };
    let routes: Vec<&Series<RouteShard>> =
        metrics.all_routes.iter().map(|series| &**series).chain([&*metrics.unrouted]).filter(used).collect();
    out.reserve(routes.len() * 2048);

    family(out, REQUESTS, "counter", "Requests answered, by the route of the config they met (- for none)");
    for series in &routes {
        for (m, method) in METHODS.iter().enumerate() {
            for (c, class) in CLASSES.iter().enumerate() {
                let value = series.sum(|shard| shard.requests[m][c].get());
                if value > 0 {
                    let more = [",method=\"", method, "\",code=\"", class, "\""];
                    line(out, REQUESTS, "_total", &series.text, &more, value);
                }
            }
        }
    }
    family(out, DURATION, "histogram", "From the request head to the last byte of the answer");
    out.push_str("# UNIT vestibule_request_duration_seconds seconds\n");
    for series in &routes {
        let mut total = 0;
        for (index, bound) in SECONDS.iter().enumerate() {
            total += series.sum(|shard| shard.durations[index].get());
            line(out, DURATION, "_bucket", &series.text, &[",le=\"", bound, "\""], total);
        }
        line(out, DURATION, "_count", &series.text, &[], total);
        let micros = series.sum(|shard| shard.duration_sum.get());
        name(out, DURATION, "_sum", &series.text, &[]);
        number(out, micros / 1_000_000);
        let digits = micros % 1_000_000 + 1_000_000;
        // Six digits behind the point: what is left after a leading one.
        out.push('.');
        out.push_str(itoa::Buffer::new().format(digits).get(1..).unwrap_or("0"));
        out.push('\n');
    }
    type Read = fn(&RouteShard) -> u64;
    let bodies: [(&str, &str, Read); 2] = [
        ("vestibule_request_body_bytes", "Bytes of request bodies that were forwarded", |s| s.received.get()),
        ("vestibule_response_body_bytes", "Bytes of response bodies sent to clients", |s| s.sent.get()),
    ];
    for (name, help, read) in bodies {
        family(out, name, "counter", help);
        for series in &routes {
            let value = series.sum(read);
            if value > 0 {
                line(out, name, "_total", &series.text, &[], value);
            }
        }
    }
}

pub(super) fn upstreams(metrics: &Metrics, servers: &[Server], out: &mut String) {
    let upstreams = &metrics.all_upstreams;
    let name = "vestibule_upstream_exchanges";
    family(out, name, "counter", "Exchanges with servers, by whether the connection was in the pool");
    for series in upstreams {
        let values = [("reused", series.sum(|s| s.reused.get())), ("new", series.sum(|s| s.fresh.get()))];
        for (connection, value) in values.into_iter().filter(|(_, value)| *value > 0) {
            line(out, name, "_total", &series.text, &[",connection=\"", connection, "\""], value);
        }
    }
    let name = "vestibule_upstream_retries";
    family(out, name, "counter", "Second attempts, by what the one before failed of");
    for series in upstreams {
        for (index, reason) in RETRIED.iter().enumerate() {
            let value = series.sum(|shard| shard.retried[index].get());
            if value > 0 {
                line(out, name, "_total", &series.text, &[",reason=\"", reason, "\""], value);
            }
        }
    }
    let labels =
        |server: &Server| format!("upstream=\"{}\",server=\"{}\"", escaped(&server.upstream), escaped(&server.address));
    let labels: Vec<String> = servers.iter().map(labels).collect();
    let name = "vestibule_upstream_stale_connections";
    family(out, name, "counter", "Pooled connections that the server had closed when they were wanted");
    for (server, labels) in servers.iter().zip(&labels).filter(|(server, _)| server.stale > 0) {
        line(out, name, "_total", labels, &[], server.stale);
    }
    type Read = fn(&Server) -> u64;
    let levels: [(&str, &str, Read); 3] = [
        ("vestibule_upstream_requests_in_flight", "Requests that a server works on", |s| s.in_flight),
        ("vestibule_upstream_idle_connections", "Pooled connections to a server", |s| s.idle),
        (
            "vestibule_upstream_up",
            "1 while requests go to a server; 0 while it is down or left out after failures",
            |s| s.up,
        ),
    ];
    for (name, help, read) in levels {
        family(out, name, "gauge", help);
        for (server, labels) in servers.iter().zip(&labels) {
            line(out, name, "", labels, &[], read(server));
        }
    }
}

/// A label value as it stands between quotes (OpenMetrics section 3.2, ABNF).
pub(super) fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn family(out: &mut String, name: &str, kind: &str, help: &str) {
    for part in ["# HELP ", name, " ", help, ".\n# TYPE ", name, " ", kind, "\n"] {
        out.push_str(part);
    }
}

fn name(out: &mut String, name: &str, suffix: &str, labels: &str, more: &[&str]) {
    out.push_str(name);
    out.push_str(suffix);
    out.push('{');
    out.push_str(labels);
    more.iter().for_each(|part| out.push_str(part));
    out.push_str("} ");
}

fn line(out: &mut String, of: &str, suffix: &str, labels: &str, more: &[&str], value: u64) {
    name(out, of, suffix, labels, more);
    number(out, value);
    out.push('\n');
}

fn number(out: &mut String, value: u64) {
    out.push_str(itoa::Buffer::new().format(value));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_in_text_are_those_that_count() {
        for (text, micros) in SECONDS.iter().zip(BOUNDS) {
            assert_eq!(text.parse::<f64>().unwrap() * 1e6, micros as f64);
        }
    }

    #[test]
    fn a_label_cannot_leave_its_quotes() {
        assert_eq!(escaped("a\\b\"c\nd"), "a\\\\b\\\"c\\nd");
    }
}
