//! `hsts`: Strict-Transport-Security (RFC 6797).

use crate::config::Hsts;
use crate::message::{Fields, Known};

/// The value of the field.
pub fn value(rules: &Hsts) -> Box<str> {
    let mut value = format!("max-age={}", rules.max_age.as_secs());
    if rules.include_subdomains {
        value.push_str("; includeSubDomains");
    }
    if rules.preload {
        value.push_str("; preload");
    }
    value.into()
}

/// Whether a host may have it: a browser ignores it for an address, and on a development name it would outlive the
/// development certificate and lock the user out of every other app of that name.
pub fn fits(host: &str, dev: bool) -> bool {
    !dev && host != "localhost" && host.parse::<std::net::IpAddr>().is_err()
}

/// Adds the field, unless the backend has an opinion of its own.
pub fn push(fields: &mut Fields, value: &str) {
    if !fields.has(Known::StrictTransportSecurity) {
        fields.push(b"Strict-Transport-Security", value.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_value_says_what_the_rules_say_and_the_backend_wins() {
        let rules = Hsts { max_age: Duration::from_secs(31_536_000), include_subdomains: true, preload: true };
        assert_eq!(&*value(&rules), "max-age=31536000; includeSubDomains; preload");
        let mut fields = Fields::default();
        push(&mut fields, "max-age=1");
        push(&mut fields, "max-age=2");
        assert_eq!(fields.all(Known::StrictTransportSecurity).collect::<Vec<_>>(), [b"max-age=1"]);
        assert!(fits("a.example.com", false) && !fits("a.example.com", true));
        assert!(!fits("192.0.2.1", false) && !fits("::1", false) && !fits("localhost", false));
    }
}
