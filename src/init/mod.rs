//! Starter configs: for one host, or translated from nginx or a Caddyfile with a list of what was left out.

mod caddy;
mod draft;
mod nginx;
mod tokens;

pub use draft::{Draft, Left};

use crate::config::Diagnostic;

/// The formats that can be translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Nginx,
    Caddyfile,
}

/// A config for one host and one target, with comments.
pub fn starter(host: &str, target: &str) -> String {
    let local = crate::tls::is_local(host);
    let target = if target.parse::<u16>().is_ok() { target.to_owned() } else { draft::quoted(target) };
    let host_key = draft::quoted(host);
    let mut out = String::from(
        "# Made by `vestibule init`. `vestibule check` reads it, `vestibule explain URL` says what a request meets.\n\n",
    );
    if local {
        out += "[sites]\n# A certificate for this name is made by the development CA. Plain HTTP is redirected to https.\n";
        out += &format!("{host_key} = {target}\n");
    } else {
        out += "# Certificates come from Let's Encrypt. With `accept_terms = true` you agree to its terms (https://letsencrypt.org\n\
                # has them); nothing is ordered before. Or name files: tls = { cert = \"...\", key = \"...\" } on the site.\n";
        out += "acme = { accept_terms = false }\n\n[sites]\n# Plain HTTP is redirected to https.\n";
        out += &format!("{host_key} = {target}\n");
    }
    out
}

/// Translates a config of another program.
///
/// # Errors
/// Where the text cannot be read as that format.
pub fn translate(format: Format, name: &str, text: &str) -> Result<Draft, Box<Diagnostic>> {
    match format {
        Format::Nginx => nginx::translate(text),
        Format::Caddyfile => caddy::translate(text),
    }
    .map_err(|(line, why)| Box::new(Diagnostic::error("not-translated", format!("{name}:{line}: {why}"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_starter_is_a_config() {
        for (host, target) in
            [("app.localhost", "3000"), ("shop.example.com", "10.0.0.1:80"), ("a.test", "unix:/run/a")]
        {
            let text = starter(host, target);
            let loaded = crate::config::parse("x.toml", &text, Path::new("/")).unwrap_or_else(|p| panic!("{p}"));
            assert_eq!(loaded.config.sites[0].host.to_string(), host);
        }
    }

    /// `UPDATE=1` rewrites the expected texts; read the diff then.
    #[test]
    fn configs_of_other_programs_become_the_expected_ones_and_load() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/init");
        let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|end| end == "conf" || end == "caddy"));
        files.sort();
        assert!(files.len() >= 10, "{}", files.len());
        for path in files {
            let format =
                if path.extension().is_some_and(|end| end == "conf") { Format::Nginx } else { Format::Caddyfile };
            let name = path.file_name().unwrap().to_str().unwrap();
            let draft = translate(format, name, &std::fs::read_to_string(&path).unwrap());
            let text = draft.unwrap_or_else(|problem| panic!("{name}: {}", problem.message)).toml(name);
            let expected = folder.join(format!("{name}.toml"));
            if std::env::var_os("UPDATE").is_some() {
                std::fs::write(&expected, &text).unwrap();
            }
            assert_eq!(text, std::fs::read_to_string(&expected).unwrap_or_default(), "{name}");
            let loaded = crate::config::parse(name, &text, &folder).unwrap_or_else(|p| panic!("{text}\n{p}"));
            assert!(loaded.warnings.is_empty(), "{}", loaded.render_warnings(false));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_translated_or_refused_without_a_panic(
            text in "(server|location|listen|upstream|proxy_pass|return|http|handle|redir|respond|reverse_proxy|a.test|/x|\\{|\\}|;|\n|\"| |#|@|80|:){0,40}",
        ) {
            for format in [Format::Nginx, Format::Caddyfile] {
                if let Ok(draft) = translate(format, "x", &text) {
                    let _ = crate::config::parse("x", &draft.toml("x"), Path::new("/"));
                }
            }
        }
    }
}
