//! Where texts come from, and how their problems are told: files, the environment, JSON, colour, secrets.

use super::*;

#[test]
fn sites_come_from_an_environment_variable_without_a_file() {
    let config = from_env_sites("app.localhost=web:8000, api.localhost = 9000,").unwrap().config;
    let hosts: Vec<_> = config.sites.iter().map(|site| site.host.to_string()).collect();
    assert_eq!(hosts, ["app.localhost", "api.localhost"]);
    assert_eq!(config.upstreams[1].name, "localhost:9000");
    assert_eq!(config.sites[1].origin.to_string(), "VESTIBULE_SITES:1:25");

    let problems = from_env_sites("a.test=b, a b=c:1, c.test, a.test=d:1").unwrap_err();
    let found: Vec<_> =
        problems.diagnostics.iter().map(|p| (p.code, p.origin.as_ref().map_or(0, |at| at.column))).collect();
    assert_eq!(found, [("bad-target", 8), ("bad-host", 11), ("bad-site", 20), ("duplicate-host", 28)]);
    assert_eq!(from_env_sites("").unwrap_err().diagnostics[0].code, "no-sites");
}

#[test]
fn problems_are_json_for_machines() {
    let problems = parse("a.toml", "[sites.\"a.test\"]\nproxxy = 3000\n", Path::new("")).unwrap_err();
    let json: serde_json::Value = serde_json::from_str(&problems.to_json()).unwrap();
    let first = &json[0];
    assert_eq!((&first["severity"], &first["code"]), (&"error".into(), &"unknown-key".into()));
    assert_eq!((&first["file"], &first["line"], &first["column"]), (&"a.toml".into(), &2.into(), &1.into()));
    assert_eq!(first["help"][0], "did you mean `proxy`?");
    assert_eq!(first["replacement"], "proxy");
}

#[test]
fn colour_is_only_there_when_asked_for() {
    let problems = parse("a.toml", "x = 1\n", Path::new("")).unwrap_err();
    assert!(problems.render(true).contains("\u{1b}["));
    assert!(!problems.render(false).contains('\u{1b}'));
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem_without_a_place() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(load(&dir.path().join("none.toml")).unwrap_err().diagnostics[0].code, "config-not-read");
    let path = dir.path().join("latin1.toml");
    std::fs::write(&path, b"a = 1\n# caf\xe9\n").unwrap();
    let problems = load(&path).unwrap_err();
    assert_eq!(problems.diagnostics[0].code, "not-utf8");
    assert!(problems.render(false).contains("line 2 is not UTF-8"));
}

#[test]
fn a_secret_from_a_file_is_never_repeated() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), "hunter2").unwrap();
    let text = "[defaults]\nhttp = \"${file:secret}\"\ntimeouts = { connect = \"${file:secret}\" }\n\
                [sites]\n\"a.test\" = \"${file:secret}\"\n\"b.test\" = 3000\n";
    let problems = parse("a.toml", text, dir.path()).unwrap_err();
    assert_eq!(problems.diagnostics.len(), 3);
    assert!(!problems.render(false).contains("hunter2") && !problems.to_json().contains("hunter2"));
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_no_problem() {
    assert_eq!(codes("\u{feff}[sites]\r\n\"a.test\" = 3000\r\n"), [""; 0]);
    assert_eq!(codes("[sites]\r\n\"a.test\" = 3000\r\n\"b\" = true\r\n"), ["wrong-type"]);
}

#[test]
fn what_seems_to_be_missing_is_not_reported_beside_a_mistyped_key() {
    assert_eq!(codes("[sites.\"a.test\"]\nproxxy = 1\n"), ["unknown-key"]);
    assert_eq!(codes("[site]\n\"a.test\" = 1\n"), ["unknown-key"]);
    assert_eq!(codes("[tls]\ncertificates = [{ crt = \"a\", key = \"b\" }]\n[sites]\n\"a\" = 1\n"), ["unknown-key"]);
    assert_eq!(codes("[sites.\"a.test\"]\nproxy = 1.5\n"), ["wrong-type"]);
}
