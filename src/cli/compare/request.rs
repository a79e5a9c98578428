//! What `compare` sends: the URL and the flags as requests.

use anyhow::{Context, bail};
use bytes::Bytes;

use super::Arguments;
use crate::message::Method;
use crate::observe::Request;

/// Query, cookie and form of the default requests. They look like secrets, so that one sees where secrets can be read.
const QUERY: &str = "q=my-secret-search";
const COOKIE: &str = "session=my-secret-session";
const FORM: &str = "user=ada&password=my-secret-password";
const FORM_TYPE: &str = "application/x-www-form-urlencoded";

/// The argument of `compare`, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub host: String,
    /// `None` where the URL names no port.
    pub port: Option<u16>,
    /// The URL says https, or no scheme.
    pub https: bool,
    pub path: String,
    pub query: Option<String>,
    /// `HOST=TARGET`: the backend to open doors for.
    pub backend: Option<String>,
}

impl Target {
    pub fn parse(text: &str) -> anyhow::Result<Target> {
        if !text.contains("://")
            && let Some((host, backend)) = text.split_once('=')
            && !host.contains(['/', '?'])
        {
            if host.is_empty() || backend.is_empty() {
                bail!("`{text}`: expected HOST=TARGET, such as app.localhost=3000");
            }
            let (host, backend) = (host.to_ascii_lowercase(), Some(backend.to_string()));
            return Ok(Target { host, port: None, https: true, path: "/".into(), query: None, backend });
        }
        let with_scheme = if text.contains("://") { text.to_string() } else { format!("https://{text}") };
        // A fragment is the browser's own and never sent.
        let sent = with_scheme.split('#').next().unwrap_or_default();
        let uri: http::Uri = sent.parse().with_context(|| format!("`{text}` is no URL"))?;
        let https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            other => bail!("`{text}`: the scheme is http or https, not {}", other.unwrap_or("missing")),
        };
        let host = uri.host().filter(|host| !host.is_empty()).with_context(|| format!("`{text}` names no host"))?;
        let path = if uri.path().is_empty() { "/" } else { uri.path() };
        Ok(Target {
            host: host.to_ascii_lowercase(),
            port: uri.port_u16(),
            https,
            path: path.into(),
            query: uri.query().map(str::to_string),
            backend: None,
        })
    }
}

/// The requests to compare: what the flags say, else one GET and one POST.
pub(super) fn requests(arguments: &Arguments, target: &Target) -> anyhow::Result<Vec<Request>> {
    let own = own_fields(&arguments.headers)?;
    let with_query = match &target.query {
        Some(query) => format!("{}?{query}", target.path),
        None => format!("{}?{QUERY}", target.path),
    };
    let as_given = target.query.as_ref().map_or(target.path.clone(), |_| with_query.clone());
    let make = |method: Method, target_text: String, body: Option<&str>| {
        let mut fields = vec![
            ("User-Agent".to_string(), concat!("vestibule/", env!("CARGO_PKG_VERSION")).to_string()),
            ("Accept".to_string(), "application/json, */*;q=0.5".to_string()),
            ("Cookie".to_string(), COOKIE.to_string()),
        ];
        if body.is_some() {
            fields.push(("Content-Type".into(), FORM_TYPE.into()));
        }
        fields.retain(|(name, _)| !own.iter().any(|(own, _)| own.eq_ignore_ascii_case(name)));
        fields.extend(own.iter().cloned());
        Request {
            method,
            host: target.host.clone(),
            target: target_text,
            fields,
            body: Bytes::copy_from_slice(body.unwrap_or_default().as_bytes()),
        }
    };
    match (&arguments.method, &arguments.data) {
        (None, None) => {
            Ok(vec![make(Method::GET, with_query, None), make(Method::POST, target.path.clone(), Some(FORM))])
        }
        (method, data) => {
            let method = match method {
                Some(method) => Method::from_bytes(method.to_ascii_uppercase().as_bytes())
                    .with_context(|| format!("`{method}` is no method"))?,
                None => Method::POST,
            };
            if method == Method::CONNECT {
                bail!("CONNECT asks for a tunnel, not for a page");
            }
            Ok(vec![make(method, as_given, data.as_deref())])
        }
    }
}

/// `Name: value` of each `-H`.
fn own_fields(headers: &[String]) -> anyhow::Result<Vec<(String, String)>> {
    let mut fields = Vec::new();
    for header in headers {
        let (name, value) = header.split_once(':').with_context(|| format!("`{header}`: expected `Name: value`"))?;
        let (name, value) = (name.trim(), value.trim());
        if http::HeaderName::from_bytes(name.as_bytes()).is_err() || http::HeaderValue::from_str(value).is_err() {
            bail!("`{header}` is no header field");
        }
        if ["host", "content-length", "transfer-encoding", "connection", "expect", "upgrade"]
            .iter()
            .any(|own| own.eq_ignore_ascii_case(name))
        {
            bail!("`{name}` is set by compare itself: it decides how the message is read");
        }
        fields.push((name.to_string(), value.to_string()));
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_pairs_are_told_apart() {
        let url = Target::parse("https://App.localhost:8443/a?b=c#d").unwrap();
        assert_eq!((url.host.as_str(), url.port, url.https), ("app.localhost", Some(8443), true));
        assert_eq!((url.path.as_str(), url.query.as_deref(), url.backend), ("/a", Some("b=c"), None));
        let pair = Target::parse("app.localhost=127.0.0.1:3000").unwrap();
        assert_eq!((pair.host.as_str(), pair.backend.as_deref()), ("app.localhost", Some("127.0.0.1:3000")));
        let bare = Target::parse("app.localhost/x?a=b").unwrap();
        assert_eq!((bare.path.as_str(), bare.query.as_deref(), bare.https), ("/x", Some("a=b"), true));
        for wrong in ["ftp://a/", "=3000", "a=", "https://"] {
            assert!(Target::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn fields_that_frame_a_message_are_refused() {
        assert!(own_fields(&["Content-Length: 3".into()]).is_err());
        assert!(own_fields(&["X-A: b\r\nEvil: c".into()]).is_err());
        assert_eq!(own_fields(&["X-A:b".into()]).unwrap(), [("X-A".to_string(), "b".to_string())]);
    }
}
