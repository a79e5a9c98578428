//! What a translation gathers, and how it becomes a config.

use std::fmt::Write as _;

/// Something that was left out, with its place and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    pub line: usize,
    pub text: String,
    pub why: &'static str,
}

/// A config in the making.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    /// Lines before the first table.
    pub(super) top: Vec<String>,
    pub(super) listeners: Vec<(String, String)>,
    pub(super) sites: Vec<Site>,
    pub(super) upstreams: Vec<Upstream>,
    pub left: Vec<Left>,
    /// A site needs a certificate that nobody has put there.
    pub(super) needs_acme: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Site {
    pub host: String,
    pub aliases: Vec<String>,
    pub keys: Keys,
    pub request: Vec<(String, String)>,
    pub response: Vec<(String, String)>,
    pub remove: Vec<String>,
    pub routes: Vec<(String, Keys)>,
}

/// Keys of a site or a route with their values as TOML; dotted ones too.
#[derive(Debug, Clone, Default)]
pub(super) struct Keys(Vec<(String, String)>);

#[derive(Debug, Clone, Default)]
pub(super) struct Upstream {
    pub name: String,
    pub servers: Vec<String>,
    pub keys: Keys,
}

impl Keys {
    /// Sets a key; the first value stays, as inner blocks are read before outer ones.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        if !self.has(key) {
            self.0.push((key.to_owned(), value.into()));
        }
    }

    pub fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(there, _)| there == key)
    }

    pub fn has_action(&self) -> bool {
        ["proxy", "upstream", "redirect", "respond"].iter().any(|key| self.has(key))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every key with its value.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    fn write(&self, out: &mut String) {
        for (key, value) in &self.0 {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{key} = {value}");
        }
    }
}

impl Draft {
    pub(super) fn leave(&mut self, line: usize, text: impl Into<String>, why: &'static str) {
        self.left.push(Left { line, text: text.into(), why });
    }

    /// The draft as a config with comments. `name` is the file it came from.
    pub fn toml(&self, name: &str) -> String {
        let clean = |text: &str| text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
        let mut out = format!("# Translated from {} by `vestibule init`.\n", clean(name));
        if !self.left.is_empty() {
            out += "# Not translated:\n";
        }
        for left in &self.left {
            let _ = writeln!(out, "#   line {}: {} ({})", left.line, clean(&left.text), left.why);
        }
        for line in &self.top {
            let _ = writeln!(out, "{line}");
        }
        if !self.listeners.is_empty() {
            out += "\n[listeners]\n";
            Keys(self.listeners.clone()).write(&mut out);
        }
        for site in &self.sites {
            site.write(&mut out);
        }
        for upstream in &self.upstreams {
            let _ =
                writeln!(out, "\n[upstreams.{}]\nservers = [{}]", quoted(&upstream.name), upstream.servers.join(", "));
            upstream.keys.write(&mut out);
        }
        out
    }

    /// The site of these names: the first is its host.
    pub(super) fn site(&mut self, names: &[String]) -> Option<&mut Site> {
        let (host, aliases) = names.split_first()?;
        let at = self.sites.iter().position(|site| site.host == *host).unwrap_or_else(|| {
            self.sites.push(Site { host: host.clone(), aliases: aliases.to_vec(), ..Site::default() });
            self.sites.len() - 1
        });
        self.sites.get_mut(at)
    }
}

impl Site {
    pub fn set_request(&mut self, name: &str, value: String) {
        set(&mut self.request, name, value);
    }

    pub fn set_response(&mut self, name: &str, value: String) {
        set(&mut self.response, name, value);
    }

    fn write(&self, out: &mut String) {
        let path = format!("sites.{}", quoted(&self.host));
        let _ = writeln!(out, "\n[{path}]");
        if !self.aliases.is_empty() {
            let aliases: Vec<_> = self.aliases.iter().map(|alias| quoted(alias)).collect();
            let _ = writeln!(out, "aliases = [{}]\naliases_redirect = false", aliases.join(", "));
        }
        self.keys.write(out);
        let table = |fields: &[(String, String)]| {
            let pairs: Vec<_> =
                fields.iter().map(|(name, value)| format!("{} = {}", quoted(name), quoted(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        };
        if !self.request.is_empty() {
            let _ = writeln!(out, "headers.request.set = {}", table(&self.request));
        }
        if !self.response.is_empty() {
            let _ = writeln!(out, "headers.response.set = {}", table(&self.response));
        }
        if !self.remove.is_empty() {
            let names: Vec<_> = self.remove.iter().map(|name| quoted(name)).collect();
            let _ = writeln!(out, "headers.response.remove = [{}]", names.join(", "));
        }
        for (route, keys) in &self.routes {
            let _ = writeln!(out, "\n[[{path}.routes]]\npath = {}", quoted(route));
            keys.write(out);
        }
    }
}

fn set(fields: &mut Vec<(String, String)>, name: &str, value: String) {
    if !fields.iter().any(|(there, _)| there.eq_ignore_ascii_case(name)) {
        fields.push((name.to_owned(), value));
    }
}

/// The whole path of a request in a redirect of a route for `path`: `{path}` is what follows a prefix.
pub(super) fn whole_path(path: Option<&str>) -> String {
    match path {
        None | Some("/*") => "/{path}".to_owned(),
        Some(path) => match path.strip_suffix("/*") {
            Some(prefix) => format!("{prefix}/{{path}}"),
            None => path.to_owned(),
        },
    }
}

/// A text as TOML; `${` and `$${` stand for themselves.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.replace("${", "$${").chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
