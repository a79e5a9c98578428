//! Which hosts ACME can vouch for, and what to say where it cannot.

use super::names;
use crate::config::diagnostics::Diagnostic;
use crate::config::{Config, HostPattern, Site};

/// `tls = "auto"` found no file, and the name is not local: whether it is ordered.
pub(super) fn fits(host: &HostPattern, config: &Config) -> bool {
    let Some(acme) = &config.acme else { return false };
    match host {
        HostPattern::Exact(name) => is_public(name),
        HostPattern::Wildcard(base) => is_public(base) && acme.has_dns01(),
        HostPattern::Any => false,
    }
}

fn is_public(name: &str) -> bool {
    name.contains('.') && names::parse_ip(name).is_none() && !names::is_local(name)
}

/// `tls = "acme"`: what no public server can vouch for.
pub(super) fn check(host: &HostPattern, site: &Site) -> Result<(), Box<Diagnostic>> {
    let name = match host {
        HostPattern::Exact(name) | HostPattern::Wildcard(name) => name,
        // Reported by the check of the config.
        HostPattern::Any => return Ok(()),
    };
    if is_public(name) {
        return Ok(());
    }
    let what = if names::parse_ip(name).is_some() { "an address, not a host name" } else { "a local name" };
    let found = Diagnostic::error("acme-local-name", format!("no ACME server vouches for `{host}`"))
        .at(&site.origin)
        .label(what)
        .note("nobody outside can check that it is yours")
        .help("use the development CA: tls = \"dev\"")
        .help("or name certificate files: tls = { cert = \"site.pem\", key = \"site.key\" }");
    Err(Box::new(found))
}

/// No source of certificates fits a host.
pub(super) fn no_certificate(host: &HostPattern, site: &Site, config: &Config) -> Diagnostic {
    let listed = config.tls.certificates.len();
    let label = match listed {
        0 => "no certificate file is configured, and this is not a local name".to_string(),
        1 => "the one certificate under [tls] does not cover it, and this is not a local name".to_string(),
        _ => format!("none of the {listed} certificates under [tls] covers it, and this is not a local name"),
    };
    let found =
        Diagnostic::error("no-certificate", format!("no certificate for `{host}`")).at(&site.origin).label(label);
    let found = match (&config.acme, host) {
        (None, _) => found,
        (Some(_), HostPattern::Wildcard(_)) => {
            found.note("[acme] is there, but a wildcard needs dns-01: name a command as its dns01_hook")
        }
        (Some(_), _) => found.note("[acme] is there, but ACME is for host names, not for addresses"),
    };
    found
        .help("name its files: tls = { cert = \"site.pem\", key = \"site.key\" } on this site")
        .help("or list them for all sites: certificates = [{ cert = \"site.pem\", key = \"site.key\" }] under [tls]")
        .help("or serve it without TLS: tls = \"off\"")
        .help("or develop under a local name, such as `app.localhost`, which the development CA vouches for")
}
