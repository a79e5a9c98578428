//! Who may see the page: this machine's names, its own pages, and who holds the token. Whatever is not clear is refused.

use crate::error::Why;
use crate::message::{Known, Method, RequestHead};

/// The cookie that stands for the token, so that it does not stay in the address bar.
pub(super) const COOKIE: &str = "vestibule_inspector";

/// What a request may have.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// It came with the token in its address: the browser gets the cookie and asks again without.
    Token,
    /// It may see what it asks for.
    Open,
}

/// Looks at a request's head.
///
/// # Errors
/// Why it is refused.
pub(super) fn check(head: &RequestHead, token: &str) -> Result<Access, Why> {
    // A name that a stranger's DNS points here is still the stranger's name (DNS rebinding).
    let host = head.host();
    if !["localhost", "127.0.0.1", "[::1]"].iter().any(|own| host.eq_ignore_ascii_case(own.as_bytes())) {
        return Err(Why::InspectorHost);
    }
    // What passed a proxy, this one among them, is somebody else's request.
    if head.fields.has(Known::Via) || head.fields.has(Known::XForwardedFor) || head.fields.has(Known::Forwarded) {
        return Err(Why::InspectorOrigin);
    }
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return Err(Why::InspectorMethod);
    }
    let field = |name: &[u8]| head.fields.get_name(name);
    let own_page = [b"http://".as_slice(), head.authority()].concat();
    if field(b"origin").is_some_and(|origin| !origin.eq_ignore_ascii_case(&own_page)) {
        return Err(Why::InspectorOrigin);
    }
    // Another port of this machine is the same site to a browser, and may be anybody's app.
    let site = field(b"sec-fetch-site");
    let strange = site.is_some_and(|site| site != b"same-origin" && site != b"none");
    let with_token = head.query().and_then(|query| parameter(query, b"token"));
    if let Some(given) = with_token {
        // A link with the right token is one the proxy printed, wherever it is followed from; as a page, not as a part.
        let as_page = field(b"sec-fetch-dest").is_none_or(|to| to == b"document");
        return match (same(given, token), strange && !as_page) {
            (true, false) => Ok(Access::Token),
            (true, true) => Err(Why::InspectorOrigin),
            (false, _) => Err(Why::InspectorToken),
        };
    }
    if strange {
        return Err(Why::InspectorOrigin);
    }
    let bearer = field(b"authorization").and_then(|value| value.strip_prefix(b"Bearer "));
    let cookies = head.fields.all(Known::Cookie).flat_map(|value| value.split(|b| *b == b';'));
    let prefix = format!("{COOKIE}=");
    let mut cookies = cookies.filter_map(|cookie| cookie.trim_ascii().strip_prefix(prefix.as_bytes()));
    if bearer.is_some_and(|given| same(given, token)) || cookies.any(|given| same(given, token)) {
        Ok(Access::Open)
    } else {
        Err(Why::InspectorToken)
    }
}

/// The value of a parameter of a query.
pub(super) fn parameter<'a>(query: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    query.split(|b| *b == b'&').find_map(|part| part.strip_prefix(name)?.strip_prefix(b"="))
}

/// Compares in a time that tells nothing about where they differ.
fn same(given: &[u8], token: &str) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(given, token.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Fields, Version};

    const TOKEN: &str = "00112233445566778899aabbccddeeff";

    fn asked(method: Method, host: &str, target: &str, fields: &[(&str, &str)]) -> Result<Access, Why> {
        let mut all = Fields::default();
        let target = all.store(target.as_bytes());
        let authority = all.store(host.as_bytes());
        for (name, value) in fields {
            all.push(name.as_bytes(), value.as_bytes());
        }
        check(&RequestHead::new(method, Version::Http11, target, authority, all), TOKEN)
    }

    #[test]
    fn only_this_machines_names_its_own_pages_and_the_token_open_the_page() {
        let cookie = format!("a=b; {COOKIE}={TOKEN}");
        let with = |more: &[(&str, &str)]| {
            let fields: Vec<_> = more.iter().copied().chain([("Cookie", cookie.as_str())]).collect();
            asked(Method::GET, "127.0.0.1:4480", "/", &fields)
        };
        assert_eq!(with(&[]), Ok(Access::Open));
        assert_eq!(with(&[("Sec-Fetch-Site", "same-origin")]), Ok(Access::Open));
        assert_eq!(with(&[("Origin", "http://127.0.0.1:4480")]), Ok(Access::Open));
        for strange in ["cross-site", "same-site", "", "anything"] {
            assert_eq!(with(&[("Sec-Fetch-Site", strange)]), Err(Why::InspectorOrigin), "{strange}");
        }
        for origin in ["http://127.0.0.1:3000", "null", "https://127.0.0.1:4480"] {
            assert_eq!(with(&[("Origin", origin)]), Err(Why::InspectorOrigin), "{origin}");
        }
        assert_eq!(with(&[("Via", "1.1 vestibule")]), Err(Why::InspectorOrigin));
        for host in ["evil.test:4480", "127.0.0.1.evil.test", "localhost.evil.test", "", "0.0.0.0:4480", "[::2]:4480"] {
            let fields = [("Cookie", cookie.as_str())];
            assert_eq!(asked(Method::GET, host, "/", &fields), Err(Why::InspectorHost), "{host}");
            let link = format!("/?token={TOKEN}");
            assert_eq!(asked(Method::GET, host, &link, &[]), Err(Why::InspectorHost), "{host}");
        }
        for host in ["localhost:4480", "LOCALHOST", "[::1]:4480", "127.0.0.1"] {
            assert_eq!(asked(Method::GET, host, "/", &[("Cookie", &cookie)]), Ok(Access::Open), "{host}");
        }
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            assert_eq!(asked(method, "localhost", "/", &[("Cookie", &cookie)]), Err(Why::InspectorMethod));
        }
    }

    #[test]
    fn a_token_that_is_missing_wrong_or_in_pieces_opens_nothing() {
        let get = |target: &str, fields: &[(&str, &str)]| asked(Method::GET, "localhost", target, fields);
        assert_eq!(get(&format!("/?token={TOKEN}"), &[]), Ok(Access::Token));
        assert_eq!(get("/", &[("Authorization", &format!("Bearer {TOKEN}"))]), Ok(Access::Open));
        let link = format!("/?token={TOKEN}");
        let strange = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Dest", "document")];
        assert_eq!(get(&link, &strange), Ok(Access::Token));
        let part = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Dest", "script")];
        assert_eq!(get(&link, &part), Err(Why::InspectorOrigin));
        for target in ["/", "/?token=", "/?token=0011", &format!("/?token={TOKEN}0"), "/?tok=en", "/events"] {
            assert_eq!(get(target, &[]), Err(Why::InspectorToken), "{target}");
        }
        for cookie in [format!("{COOKIE}="), format!("{COOKIE}2={TOKEN}"), TOKEN.to_string()] {
            assert_eq!(get("/", &[("Cookie", &cookie)]), Err(Why::InspectorToken), "{cookie}");
        }
    }
}
