//! Paths: their normal form, and that a path a backend may read in two ways meets one route or none.

use std::path::Path;
use std::sync::OnceLock;

use vestibule::config;
use vestibule::error::Why;
use vestibule::message::{Fields, normalize};
use vestibule::route::{Asked, From, Router};

const CONFIG: &str = r#"
[sites."a"]
respond = { status = 200, body = "" }
routes = [
  { path = "/api/*", respond = { status = 201, body = "" } },
  { path = "/api/admin/*", respond = { status = 202, body = "" } },
  { path = "/x", respond = { status = 203, body = "" } },
  { path = "/%2F/*", respond = { status = 204 } },
  { path = "/", respond = { status = 205, body = "" } },
]
"#;

/// The routes above, in their order: a prefix, or an exact path.
const ROUTES: &[(&[u8], bool)] =
    &[(b"/api", true), (b"/api/admin", true), (b"/x", false), (b"/%2F", true), (b"/", false)];

fn router() -> &'static Router<()> {
    static ROUTER: OnceLock<Router<()>> = OnceLock::new();
    ROUTER.get_or_init(|| {
        let loaded = config::parse("path.toml", CONFIG, Path::new("")).unwrap_or_else(|problems| panic!("{problems}"));
        Router::bare(&loaded.config.sites)
    })
}

/// # Panics
/// The normal form is none, or a route is met that the normal form and the sent octets do not both lead to.
pub fn check(data: &[u8]) {
    // Octets that no target holds must not panic either.
    let _ = normalize(data);
    let path: Vec<u8> = std::iter::once(b'/').chain(data.iter().copied().filter(|b| *b != b'?')).collect();
    let normal = normalize(&path);
    assert_eq!(normalize(&normal), normal, "not idempotent");
    assert_eq!(normal.first(), Some(&b'/'));
    assert!(!normal.windows(2).any(|pair| pair == b"//"), "an empty segment");
    assert!(!normal.split(|b| *b == b'/').any(|segment| matches!(segment, b"." | b"..")), "a dot segment");
    assert_eq!(without_escapes(&normal), without_escapes(&normal).to_ascii_uppercase(), "lower-case escapes");
    for escape in normal.split(|b| *b == b'%').skip(1) {
        let hex = std::str::from_utf8(escape.get(..2).expect("two digits")).expect("digits");
        let octet = u8::from_str_radix(hex, 16).expect("an octet");
        assert!(!octet.is_ascii_alphanumeric() && !b"-._~".contains(&octet), "an unreserved octet escaped");
    }

    let (by_normal, by_sent) = (matching(&normal), matching(&path));
    let fields = Fields::default();
    let from = From::Address([203, 0, 113, 9].into());
    let asked = Asked { host: b"a", path: &path, target: &path, method: "GET", fields: &fields, from };
    match router().find(&asked) {
        Ok((found, ())) => assert!(found.route == by_normal && by_normal == by_sent, "{found:?}"),
        Err(why) => assert!(why == Why::RouteAmbiguousPath && by_normal != by_sent, "{why:?}"),
    }
}

/// The letters of the escapes.
fn without_escapes(path: &[u8]) -> Vec<u8> {
    path.split(|b| *b == b'%').skip(1).flat_map(|escape| escape.iter().take(2)).copied().collect()
}

/// Exact, then the longest prefix of whole segments, then the site's own action.
fn matching(path: &[u8]) -> usize {
    let exact = ROUTES.iter().position(|(route, prefix)| !prefix && *route == path);
    let below = |route: &[u8]| path == route || path.starts_with(&[route, b"/"].concat());
    let prefixes = ROUTES.iter().enumerate().filter(|(_, (route, prefix))| *prefix && below(route));
    exact.or(prefixes.max_by_key(|(_, (route, _))| route.len()).map(|(at, _)| at)).unwrap_or(ROUTES.len())
}
