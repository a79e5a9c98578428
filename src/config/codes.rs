//! Every code of a [`Diagnostic`](super::Diagnostic), with one sentence: the index of docs/errors.md and of `why`.

/// Code and meaning, sorted by code.
#[rustfmt::skip]
pub const CODES: &[(&str, &str)] = &[
    ("acme-any", "A site of every host cannot have a certificate by ACME: certificates are for names."),
    ("acme-bad-key", "The key of an external account is base64url."),
    ("acme-local-name", "No ACME server vouches for a name or address that is local."),
    ("acme-missing", "A site asks for a certificate by ACME and there is no `[acme]`."),
    ("acme-no-hook", "The challenge dns-01 needs a command that sets TXT records: `acme.dns01_hook`."),
    ("acme-terms", "The terms of the ACME server are not accepted, so nothing is ordered."),
    ("acme-unreachable", "The doors that the chosen ACME challenges come through are closed."),
    ("acme-wildcard", "A wildcard certificate needs the challenge dns-01."),
    ("address-not-here", "A listener names an address that this machine does not have."),
    ("alias-of-wildcard", "Aliases redirect to the site's own name, and a wildcard site has no single one."),
    ("bad-address", "A text is no address: \":80\", \"127.0.0.1:80\" or \"[::1]:80\"."),
    ("bad-cookie", "A text is no name of a cookie."),
    ("bad-crl", "A revocation list cannot be used, or the roots beside it."),
    ("bad-directory", "A text is no ACME directory: letsencrypt, letsencrypt-staging, or an https URL."),
    ("bad-duration", "A duration carries a unit: \"30s\", \"500ms\", \"5m\"."),
    ("bad-email", "A text is no mail address."),
    ("bad-expansion", "What stands in ${...} is no expansion: ${env:NAME}, ${env:NAME:-default}, ${file:PATH}."),
    ("bad-header-name", "A text is no name of a header field (RFC 9110 section 5.1)."),
    ("bad-header-value", "A text is no value of a header field: visible ASCII, spaces and tabs."),
    ("bad-host", "A text is no host: a DNS name, \"*.example.com\", \"*\", or an IP address, without scheme, port and path."),
    ("bad-include", "A pattern of `include` names no file; `*` stands in the last part alone."),
    ("bad-key", "A hash looks at \"client_ip\", \"uri\", \"header:NAME\", \"cookie:NAME\" or \"query:NAME\"."),
    ("bad-media-type", "A text is no media type such as \"text/html\"."),
    ("bad-method", "A text is no method of HTTP such as \"GET\"."),
    ("bad-name", "An upstream needs a name."),
    ("bad-network", "A text is no network: \"10.0.0.0/8\", \"fd00::/8\", or one address."),
    ("bad-origin", "A text is no origin: scheme, host and port, without a path."),
    ("bad-path", "A text is no path of a route: it begins with `/`, is in normal form, and `*` stands alone at its end."),
    ("bad-port", "A port is a number from 1 to 65535."),
    ("bad-preload", "`preload` of `hsts` needs `include_subdomains` and a `max_age` of a year."),
    ("bad-protocol", "A text is no protocol that a client may switch to."),
    ("bad-rate", "A rate is a number of requests over a time: \"100/s\", \"10/m\", \"5/10s\"."),
    ("bad-rate-key", "A rate limit counts by \"client_ip\", \"route\" or \"header:NAME\"."),
    ("bad-redirect", "A redirect leads to a path or to a URL with http:// or https://."),
    ("bad-regex", "A text is no regular expression that can be used."),
    ("bad-request", "The request of a test is a method and a URL."),
    ("bad-root", "A file of roots to trust cannot be used."),
    ("bad-share", "A share is a whole percentage: \"20%\"."),
    ("bad-site", "An entry of VESTIBULE_SITES is HOST=TARGET."),
    ("bad-size", "A size carries a unit: \"512B\", \"32KiB\", \"10MB\"."),
    ("bad-status", "The number is no status that can stand here."),
    ("bad-strip-prefix", "What is stripped is the front of the route's path, whole segments."),
    ("bad-target", "A text is no target: a port, \"host:port\", \"http://host:port\", or \"unix:/path\"."),
    ("bad-tls", "The files of an upstream's `tls` cannot be used together."),
    ("bad-url", "A text is no URL that can be asked: http://host:port/path."),
    ("body-not-allowed", "A response with this status has no content."),
    ("cert-chain-broken", "A certificate has the issuer's name and is not signed by the one that follows it."),
    ("cert-chain-incomplete", "An intermediate is missing: clients cannot get from the certificate to a root."),
    ("cert-duplicate", "A certificate stands twice in one file."),
    ("cert-expired", "A certificate has expired. A start serves it and keeps warning; `check` fails."),
    ("cert-issuer-unknown", "No root that browsers of this machine believe vouches for a certificate."),
    ("cert-name-mismatch", "A certificate does not cover the host it is served for."),
    ("cert-not-found", "A certificate file does not exist."),
    ("cert-not-yet-valid", "A certificate is not valid yet: is the clock right?"),
    ("cert-order", "The certificates of a file are not in order: the leaf, then each one's issuer."),
    ("cert-refused", "A chain breaks a rule that clients enforce, such as the names its root is limited to."),
    ("cert-stray", "A file holds a certificate that has no part in the chain."),
    ("cert-unreadable", "A certificate file cannot be read."),
    ("cert-usage", "A certificate may not be used as it is: as a server's, or to sign the one below it."),
    ("cert-weak-key", "The key of a certificate is shorter than clients accept."),
    ("cert-weak-signature", "A certificate is signed with SHA-1 or older, which clients refuse."),
    ("client-auth-plain", "A site that requires client certificates is served without TLS too."),
    ("config-not-read", "A config file cannot be read."),
    ("config-too-large", "A config file is larger than 64 MiB."),
    ("content-in-clear", "A public site with a certificate serves the same content without TLS."),
    ("cors-any", "Every origin and `credentials` do not go together."),
    ("crl-out-of-date", "A revocation list is past the date of the next one."),
    ("dev-ca-broken", "The files of the development CA are there and cannot be used; they are never overwritten."),
    ("dev-ca-failed", "The development CA cannot be made."),
    ("dev-ca-in-memory", "The development CA cannot be stored: it lasts as long as the process."),
    ("dev-name-not-local", "The development CA may not vouch for a name that is not local."),
    ("duplicate-address", "Two listeners have one address."),
    ("duplicate-header", "One field is set twice; names do not differ by case."),
    ("duplicate-host", "A host belongs to one site."),
    ("duplicate-key", "A key is given twice."),
    ("duplicate-matcher", "A condition of a route is given twice."),
    ("duplicate-method", "A method stands twice in one list."),
    ("duplicate-server", "A server stands twice in one upstream; a greater share is `weight`."),
    ("empty-matcher", "A condition is an empty list, which no request meets."),
    ("env-not-set", "An environment variable is not set and has no default."),
    ("error-page", "The file of an error page cannot be used."),
    ("file-not-read", "A file of ${file:...} cannot be read."),
    ("grpc-check", "A health check of gRPC needs servers that speak HTTP/2."),
    ("host-not-quoted", "Host names contain dots and must be quoted."),
    ("include-too-many", "More than 4096 files are included."),
    ("inspector-not-local", "The inspector listens on an address of this machine alone."),
    ("key-mismatch", "A private key does not belong to its certificate."),
    ("key-not-found", "A key file does not exist."),
    ("key-readable", "A private key can be read by others."),
    ("key-unreadable", "A key file cannot be read."),
    ("key-unsupported", "A private key is of a kind that cannot be used."),
    ("listen", "A listener cannot be opened."),
    ("listener-tls", "`http` is always plain and `https` always ends TLS."),
    ("log-output-off", "A file of the name \"off\" would be written; `access_log = \"off\"` writes none."),
    ("missing-key", "A key that must be there is missing."),
    ("nested-include", "An included file cannot include others."),
    ("no-action", "A site or route does nothing: `proxy`, `upstream`, `redirect` or `respond` is missing."),
    ("no-certificate", "A public name has no certificate."),
    ("no-deadline", "A deadline that keeps idle clients from filling the proxy is off."),
    ("no-default-certificate", "unknown_host = \"default\" needs a certificate of [tls]."),
    ("no-effect", "A timeout or limit comes too late where it stands: it belongs into [defaults]."),
    ("no-expectation", "A test expects nothing."),
    ("no-listener", "Every listener is off."),
    ("no-origins", "`cors` lets no origin in."),
    ("no-pages", "`error_pages` names no page for any status."),
    ("no-protocol", "A listener speaks no protocol."),
    ("no-servers", "An upstream has no server."),
    ("no-sites", "The config has no site."),
    ("no-trust", "`proxy_protocol` believes nobody: `trust` is missing or empty."),
    ("not-pem", "A file is no PEM certificate or key; the message says what it is."),
    ("not-supported-yet", "A key or word of the language that this version does not act on."),
    ("not-translated", "A text is no nginx.conf or Caddyfile that can be read."),
    ("not-utf8", "A config file is not UTF-8."),
    ("out-of-range", "A number or size is outside of its range."),
    ("port-in-use", "Another program listens on the port."),
    ("port-needs-privilege", "Ports below 1024 need a privilege on this machine."),
    ("protocol-conflict", "The scheme of a target and `protocol` of its upstream say different things."),
    ("proxy-protocol-h2", "A PROXY protocol header names one client for a connection, and HTTP/2 shares it among many."),
    ("redirect-circle", "A redirect leads back to itself."),
    ("redirect-nowhere", "A site redirects to https, and no listener speaks it."),
    ("reserved-header", "The proxy writes this field itself."),
    ("route-tie", "Two routes of a site are for the same path."),
    ("rules-on-route", "`headers` of a route says which requests it is for; rules that change fields stand on the site."),
    ("short-hsts", "A `max_age` of `hsts` under a day protects hardly anybody."),
    ("sticky", "Cookies of `sticky` cannot be sealed."),
    ("syntax", "The text is not TOML."),
    ("test-failed", "A [[test]] of the config does not hold."),
    ("tls-not-verified", "The certificates of an upstream's servers are not verified: anybody on the way can be the server."),
    ("tls-off", "A site without TLS has no https to redirect to."),
    ("tls-unused", "An upstream has `tls`, and none of its servers is spoken to over TLS."),
    ("trusts-everybody", "trusted_proxies holds every address: any client can say who it is."),
    ("two-actions", "A request has one answer, and two are given."),
    ("two-paths", "A route has `path` or `path_regex`, not both."),
    ("two-rewrites", "A route has `rewrite` or `strip_prefix`, not both."),
    ("unknown-key", "A key that the language does not have."),
    ("unknown-placeholder", "A {word} that stands for nothing here."),
    ("unknown-upstream", "No upstream has this name."),
    ("unknown-value", "A word that is none of those allowed."),
    ("unreachable-site", "No listener serves a site."),
    ("unused-upstream", "No site uses an upstream."),
    ("unusual-listener", "A listener's name is one letter away from `http` or `https`."),
    ("upstream-not-asked", "`check` ran out of time before all servers were asked."),
    ("upstream-refused", "Nothing listens at the address of a server."),
    ("upstream-unreachable", "A server cannot be reached."),
    ("upstream-unresolved", "The name of a server does not resolve."),
    ("users-file", "A file of users cannot be used."),
    ("wrong-type", "A value is of another type than its key wants."),
];

/// The meaning of a code.
pub fn meaning(code: &str) -> Option<&'static str> {
    CODES.iter().find(|(there, _)| *there == code).map(|(_, meaning)| *meaning)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn sources(folder: &Path, out: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                sources(&entry, out);
            } else if !entry.ends_with("codes.rs") {
                out.push_str(&std::fs::read_to_string(&entry).unwrap());
            }
        }
    }

    #[test]
    fn every_code_a_diagnostic_is_made_with_is_in_the_table_and_no_other() {
        let mut code = String::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut code);
        let mut missing = Vec::new();
        for make in ["Diagnostic::error(", "Diagnostic::warning("] {
            for (at, _) in code.match_indices(make) {
                let argument = code[at + make.len()..].trim_start();
                let Some(literal) = argument.strip_prefix('"').and_then(|rest| rest.split('"').next()) else {
                    continue;
                };
                missing.extend(meaning(literal).is_none().then_some(literal));
            }
        }
        assert!(missing.is_empty(), "missing in src/config/codes.rs: {missing:?}");
        for (name, meaning) in CODES {
            assert!(code.contains(&format!("\"{name}\"")), "{name} is in the table and nobody says it");
            assert!(meaning.len() > 10 && !meaning.contains('|'), "{name}");
        }
        assert!(CODES.is_sorted_by(|a, b| a.0 < b.0));
    }
}
