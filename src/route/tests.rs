//! The routing order, and what a path's normal form is.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::message::normalize;

fn router(text: &str) -> Router<()> {
    let loaded = crate::config::parse("t.toml", text, Path::new(".")).unwrap_or_else(|p| panic!("{}", p.render(false)));
    Router::bare(&loaded.config.sites)
}

fn find(router: &Router<()>, host: &str, path: &str) -> Result<Found, Why> {
    router.find(&asked(host, path, &Fields::default())).map(|(found, ())| found)
}

/// A GET of a path with a query, from 10.1.2.3.
fn asked<'a>(host: &'a str, target: &'a str, fields: &'a Fields) -> Asked<'a> {
    let path = target.split('?').next().unwrap();
    let from = From::Address([10, 1, 2, 3].into());
    Asked { host: host.as_bytes(), path: path.as_bytes(), target: target.as_bytes(), method: "GET", fields, from }
}

#[test]
fn the_more_exact_host_wins_then_the_longest_wildcard() {
    let router = router(
        "[sites]\n\"a.b.test\" = 1\n\"*.b.test\" = 2\n\"*.test\" = 3\n\"*\" = 4\n[sites.\"x.test\"]\nproxy = 5\naliases = [\"y.test\"]\n",
    );
    let site = |host: &str| find(&router, host, "/").unwrap().site;
    let table = [
        ("a.b.test", 0),
        ("A.B.TEST", 0),
        ("c.b.test", 1),
        ("d.c.b.test", 1),
        ("b.test", 2),
        ("z.test", 2),
        ("test", 3),
        ("other", 3),
    ];
    for (host, index) in table {
        assert_eq!(site(host), index, "{host}");
    }
    assert!(find(&router, "y.test", "/").unwrap().alias);
}

#[test]
fn one_route_that_is_not_for_everything_is_not_met_by_everything() {
    let path = "[[sites.\"a.test\".routes]]\npath = \"/api/*\"\nproxy = 1\n";
    let method = "[[sites.\"a.test\".routes]]\npath = \"/*\"\nmethods = [\"POST\"]\nproxy = 1\n";
    for route in [path, method] {
        assert_eq!(find(&router(route), "a.test", "/x"), Err(Why::RouteNoRoute), "{route}");
    }
    let all = "[[sites.\"a.test\".routes]]\npath = \"/*\"\nproxy = 1\n";
    assert_eq!(find(&router(all), "a.test", "/x/../%2e").map(|found| found.route), Ok(0));
}

#[test]
fn prefixes_match_whole_segments_and_the_longest_wins() {
    let router = router(
        "[sites.\"a.test\"]\nproxy = 1\n[[sites.\"a.test\".routes]]\npath = \"/api/*\"\nproxy = 2\n\
         [[sites.\"a.test\".routes]]\npath = \"/api/v2/*\"\nproxy = 3\n[[sites.\"a.test\".routes]]\npath = \"/ping\"\nproxy = 4\n",
    );
    let route = |path: &str| find(&router, "a.test", path).unwrap().route;
    for (path, index) in
        [("/api", 0), ("/api/x", 0), ("/apix", 3), ("/api/v2/x", 1), ("/ping", 2), ("/ping/", 3), ("/", 3)]
    {
        assert_eq!(route(path), index, "{path}");
    }
    assert_eq!(find(&router, "a.test", "/x/../api/y"), Err(Why::RouteAmbiguousPath));
    assert_eq!(find(&router, "a.test", "/%61pi/y"), Err(Why::RouteAmbiguousPath));
    assert_eq!(route("/files/a%2Fb//c"), 3);
    assert_eq!(find(&router, "b.test", "/"), Err(Why::RouteNoHost));
}

/// A site of routes, each given by what stands in its table; the site's own action is last.
fn site(routes: &[&str]) -> Router<()> {
    let routes: String =
        routes.iter().map(|text| format!("[[sites.\"a.test\".routes]]\nproxy = 2\n{text}\n")).collect();
    router(&format!("[sites.\"a.test\"]\nproxy = 1\n{routes}"))
}

#[test]
fn the_longest_prefix_is_found_among_many_as_by_looking_at_all() {
    let names = ["/a", "/a/b", "/a/b/c", "/a!", "/a-b", "/a-b/c", "/b", "/b/a/b/c/d", "/b0", "/c%2F", "/c%2F/d"];
    let router = site(&names.map(|name| format!("path = \"{name}/*\"")).each_ref().map(String::as_str));
    let paths = [
        "/a",
        "/a/",
        "/a/b/x",
        "/a/b/c/d",
        "/a!",
        "/a!/x",
        "/a-b/c",
        "/a-b/cd",
        "/ab",
        "/b/a/b/c",
        "/b0/x",
        "/c%2F/d/e",
    ];
    for path in paths {
        let below = |name: &str| path == name || path.starts_with(&format!("{name}/"));
        let best = (0..names.len()).filter(|i| below(names[*i])).max_by_key(|i| names[*i].len());
        assert_eq!(find(&router, "a.test", path).unwrap().route, best.unwrap_or(names.len()), "{path}");
    }
}

#[test]
fn exact_comes_before_prefix_before_regex_in_file_order_before_the_rest() {
    let router =
        site(&["path_regex = \"/x/[a-z]+\"", "path_regex = \"/.*z\"", "path = \"/p/*\"", "path = \"/x/exact\""]);
    let table = [("/x/exact", 3), ("/p/z", 2), ("/x/abc", 0), ("/x/z", 0), ("/z", 1), ("/x/1", 4)];
    for (path, route) in table {
        assert_eq!(find(&router, "a.test", path).unwrap().route, route, "{path}");
    }
}

#[test]
fn conditions_choose_between_routes_of_one_path_and_a_path_without_a_match_is_passed_over() {
    let router = site(&[
        "path = \"/p/*\"",
        "path = \"/p/*\"\nmethods = [\"POST\", \"PUT\"]",
        "path = \"/p/*\"\nmethods = [\"GET\"]\nheaders = { \"X-Beta\" = \"1\" }",
        "path = \"/only\"\nmethods = [\"DELETE\"]",
        "query = { \"debug\" = \"*\", \"a b\" = \"c+d\" }",
        "path = \"/in\"\nclient_ip = [\"10.0.0.0/8\"]",
        "path = \"/in\"",
    ]);
    let route = |method: &'static str, target: &str, from: [u8; 4], lines: &[(&str, &str)]| {
        let mut fields = Fields::default();
        lines.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
        let asked = Asked { method, from: From::Address(from.into()), ..asked("a.test", target, &fields) };
        router.find(&asked).unwrap().0.route
    };
    let own = 7;
    let here = [10, 1, 2, 3];
    assert_eq!(route("GET", "/p/x", here, &[]), 0);
    assert_eq!(route("PUT", "/p/x", here, &[]), 1);
    assert_eq!(route("GET", "/p", here, &[("x-beta", "1")]), 2);
    assert_eq!(route("GET", "/p", here, &[("x-beta", "2")]), 0);
    assert_eq!(route("GET", "/p", here, &[("x-beta", "1"), ("X-Beta", "2")]), 0, "two lines, two values");
    assert_eq!(route("DELETE", "/only", here, &[]), 3);
    assert_eq!(route("GET", "/only", here, &[]), own);
    assert_eq!(route("GET", "/?debug&a+b=c%2Bd", here, &[]), 4);
    assert_eq!(route("GET", "/?debug&a%20b=c%2bd&a+b=x", here, &[]), own, "two values");
    assert_eq!(route("GET", "/?xdebug=1&a+b=c%2Bd", here, &[]), own);
    assert_eq!((route("GET", "/in", here, &[]), route("GET", "/in", [11, 0, 0, 1], &[])), (5, 6));
}

#[test]
fn the_nearest_route_is_named_where_none_is_met() {
    let router = router(
        "[[sites.\"a.test\".routes]]\npath = \"/api/*\"\nproxy = 1\n[[sites.\"a.test\".routes]]\npath = \"/admin\"\nproxy = 1\n",
    );
    let fields = Fields::default();
    for (path, nearest) in [("/adm", 1), ("/apx", 0), ("/", 0)] {
        let asked = asked("a.test", path, &fields);
        assert_eq!(router.find(&asked), Err(Why::RouteNoRoute));
        assert_eq!(router.nearest(&asked), Some((0, nearest)), "{path}");
    }
}

#[test]
fn paths_have_one_normal_form() {
    let table = [
        ("/a/b", "/a/b"),
        ("/a//b", "/a/b"),
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/../../b", "/b"),
        ("/a/..", "/"),
        ("/a/b/", "/a/b/"),
        ("//", "/"),
        ("/%7euser/%2f", "/~user/%2F"),
        ("/%2e%2e/b", "/b"),
        // A percent sign that escapes nothing.
        ("/%zz", "/%25zz"),
        ("/100%", "/100%25"),
        ("/%%32%65", "/%252e"),
    ];
    for (path, normal) in table {
        assert_eq!(String::from_utf8_lossy(&normalize(path.as_bytes())), normal, "{path}");
    }
}

proptest! {
    #[test]
    fn a_normal_form_is_its_own_normal_form(path in "/[a-c./%2eE2536]{0,24}") {
        let once = normalize(path.as_bytes()).into_owned();
        let twice = normalize(&once).into_owned();
        // Decoding "%252e" once gives "%2e" only if "%25" were unreserved, which it is not.
        prop_assert_eq!(&once, &twice);
        prop_assert!(!once.windows(2).any(|pair| pair == b"//"));
    }
}
