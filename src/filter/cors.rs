//! `cors`: which other origins may use a site's answers (the Fetch standard, section 3.3).

use crate::config::Cors;
use crate::http::{Response, respond};
use crate::message::{Fields, Method, RequestHead};

/// What a request's `Origin` may do, noted when it comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// Not from another origin, as far as it says.
    None,
    /// Let in, with the value of `Access-Control-Allow-Origin`.
    Origin(Box<[u8]>),
    Refused,
}

/// Reads what the request says about where it comes from.
pub fn grant(rules: &Cors, fields: &Fields) -> Grant {
    let Some(origin) = fields.get_name(b"Origin") else { return Grant::None };
    match &rules.origins {
        None => Grant::Origin(b"*"[..].into()),
        Some(list) if list.iter().any(|known| known.as_bytes() == origin) => Grant::Origin(origin.into()),
        Some(_) => Grant::Refused,
    }
}

/// Answers a preflight: the question a browser asks before the request itself. It carries no credentials, so it is
/// answered before anything that wants some.
pub fn preflight(rules: &Cors, grant: &Grant, head: &RequestHead) -> Option<Box<Response>> {
    let wanted = head.fields.get_name(b"Access-Control-Request-Method")?;
    if head.method != Method::OPTIONS || *grant == Grant::None {
        return None;
    }
    let mut response = respond::own(204, "", bytes::Bytes::new());
    // A refused origin gets an answer without the fields: that is how a browser is told no.
    let fits = rules.methods.iter().any(|method| method.as_bytes() == wanted);
    if let (Grant::Origin(_), true) = (grant, fits) {
        response.fields.push(b"Access-Control-Allow-Methods", rules.methods.join(", ").as_bytes());
        if let Some(names) = head.fields.get_name(b"Access-Control-Request-Headers") {
            response.fields.push(b"Access-Control-Allow-Headers", names);
        }
        response.fields.push(b"Access-Control-Max-Age", rules.max_age.as_secs().to_string().as_bytes());
    }
    for name in [&b"Access-Control-Request-Method"[..], b"Access-Control-Request-Headers"] {
        super::vary(&mut response.fields, name);
    }
    Some(response)
}

/// Says to the browser who may read the answer; what the backend says about it goes.
pub fn mark(rules: &Cors, grant: &Grant, fields: &mut Fields) {
    fields.remove_name(b"Access-Control-Allow-Origin");
    fields.remove_name(b"Access-Control-Allow-Credentials");
    let Some(_) = &rules.origins else {
        // For whoever asks, and for a cache that keeps the answer for somebody else.
        return fields.push(b"Access-Control-Allow-Origin", b"*");
    };
    if let Grant::Origin(origin) = grant {
        fields.push(b"Access-Control-Allow-Origin", origin);
        if rules.credentials {
            fields.push(b"Access-Control-Allow-Credentials", b"true");
        }
    }
    super::vary(fields, b"Origin");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::message::Version;

    fn rules(origins: Option<&[&str]>) -> Cors {
        Cors {
            origins: origins.map(|list| list.iter().map(|origin| origin.to_string()).collect()),
            methods: vec!["GET".into(), "PUT".into()],
            credentials: origins.is_some(),
            max_age: Duration::from_secs(600),
        }
    }

    fn head(method: Method, fields: &[(&str, &str)]) -> RequestHead {
        let mut list = Fields::default();
        let (target, authority) = (list.store(b"/"), list.store(b"a.test"));
        fields.iter().for_each(|(name, value)| list.push(name.as_bytes(), value.as_bytes()));
        RequestHead::new(method, Version::Http11, target, authority, list)
    }

    fn value<'f>(fields: &'f Fields, name: &str) -> Option<&'f str> {
        fields.get_name(name.as_bytes()).map(|value| std::str::from_utf8(value).unwrap())
    }

    #[test]
    fn a_preflight_of_a_known_origin_is_told_what_it_may_do() {
        let rules = rules(Some(&["https://app.test"]));
        let ask = |origin, method| {
            let fields = [
                ("Origin", origin),
                ("Access-Control-Request-Method", method),
                ("Access-Control-Request-Headers", "x-a, x-b"),
            ];
            let head = head(Method::OPTIONS, &fields);
            let grant = grant(&rules, &head.fields);
            let mut response = preflight(&rules, &grant, &head).unwrap();
            mark(&rules, &grant, &mut response.fields);
            response
        };
        let yes = ask("https://app.test", "PUT").fields;
        assert_eq!(value(&yes, "access-control-allow-origin"), Some("https://app.test"));
        assert_eq!(value(&yes, "access-control-allow-methods"), Some("GET, PUT"));
        assert_eq!(value(&yes, "access-control-allow-headers"), Some("x-a, x-b"));
        assert_eq!(value(&yes, "access-control-allow-credentials"), Some("true"));
        assert_eq!(value(&yes, "access-control-max-age"), Some("600"));
        assert_eq!(value(&ask("https://evil.test", "PUT").fields, "access-control-allow-origin"), None);
        assert_eq!(value(&ask("https://app.test", "DELETE").fields, "access-control-allow-methods"), None);
    }

    #[test]
    fn an_options_request_that_is_no_preflight_goes_to_the_backend() {
        let rules = rules(None);
        let plain = head(Method::OPTIONS, &[("Origin", "https://x.test")]);
        assert!(preflight(&rules, &grant(&rules, &plain.fields), &plain).is_none());
        let get = head(Method::GET, &[("Origin", "https://x.test"), ("Access-Control-Request-Method", "GET")]);
        assert!(preflight(&rules, &grant(&rules, &get.fields), &get).is_none());
    }

    #[test]
    fn the_answer_names_the_origin_once_and_varies_by_it() {
        let rules = rules(Some(&["https://app.test"]));
        let mut fields = Fields::default();
        fields.push(b"access-control-allow-origin", b"*");
        fields.push(b"Vary", b"Accept");
        mark(&rules, &Grant::Origin(b"https://app.test"[..].into()), &mut fields);
        assert_eq!(fields.iter().filter(|f| f.name.eq_ignore_ascii_case(b"access-control-allow-origin")).count(), 1);
        assert_eq!(fields.iter().filter(|f| f.name.eq_ignore_ascii_case(b"vary")).count(), 2);
        mark(&rules, &Grant::Refused, &mut fields);
        assert_eq!(value(&fields, "access-control-allow-origin"), None);
        let mut fields = Fields::default();
        mark(&self::rules(None), &Grant::None, &mut fields);
        assert_eq!((value(&fields, "access-control-allow-origin"), value(&fields, "vary")), (Some("*"), None));
    }
}
