//! Secrets are masked before an entry leaves its worker: nothing behind it can show what it never had.

use crate::config::Redact;

/// What stands for a secret.
pub const HIDDEN: &str = "\u{2022}\u{2022}\u{2022}";

/// The cookie the inspector's own requests carry. It is no secret, so it is shown: on the wire, and behind the proxy.
pub const OWN_COOKIE: &str = "session=my-secret-session";

/// Fields that hold secrets whatever the config says.
const FIELDS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "set-cookie"];
/// Words in the name of a parameter whose value is a secret.
const WORDS: [&str; 7] = ["token", "passw", "secret", "api_key", "apikey", "signature", "session"];

/// Schemes of `Authorization` that are shown; any other word may be the secret itself.
const SCHEMES: [&str; 5] = ["Basic", "Bearer", "Digest", "Negotiate", "Token"];

/// What is masked: names in lower case.
#[derive(Debug, Clone)]
pub struct Masks {
    fields: Vec<String>,
    parameters: Vec<String>,
}

impl Masks {
    /// What always is, and what the config redacts in the access log.
    pub fn new(redact: &Redact) -> Masks {
        let mut fields: Vec<String> = FIELDS.iter().map(ToString::to_string).collect();
        fields.extend(redact.headers.iter().cloned());
        Masks { fields, parameters: redact.query.clone() }
    }

    /// The value of a field, without what is secret in it.
    pub fn field(&self, name: &str, value: &str) -> String {
        let name = name.to_ascii_lowercase();
        if !self.fields.contains(&name) {
            return self.url(value);
        }
        match name.as_str() {
            "cookie" if value == OWN_COOKIE => value.to_string(),
            "cookie" => value.split(';').map(pair).collect::<Vec<_>>().join("; "),
            // The attributes say whether the cookie may cross in clear.
            "set-cookie" => match value.split_once(';') {
                Some((cookie, attributes)) => format!("{};{attributes}", pair(cookie)),
                None => pair(value),
            },
            "authorization" | "proxy-authorization" => {
                let scheme = value.split(' ').next().unwrap_or_default();
                match SCHEMES.iter().find(|known| known.eq_ignore_ascii_case(scheme)) {
                    Some(known) => format!("{known} {HIDDEN}"),
                    None => HIDDEN.into(),
                }
            }
            _ => HIDDEN.into(),
        }
    }

    /// A target, a URL or a request line: its secret parameters are masked.
    pub fn url(&self, text: &str) -> String {
        let Some((front, query)) = text.split_once('?') else { return text.to_string() };
        // A request line goes on behind its target.
        let (query, rest) = query.split_once(' ').map_or((query, None), |(query, rest)| (query, Some(rest)));
        let parameter = |part: &str| match part.split_once('=') {
            Some((name, _)) if self.is_secret(name) => format!("{name}={HIDDEN}"),
            _ => part.to_string(),
        };
        let masked: Vec<String> = query.split('&').map(parameter).collect();
        let rest = rest.map(|rest| format!(" {rest}")).unwrap_or_default();
        format!("{front}?{}{rest}", masked.join("&"))
    }

    fn is_secret(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        self.parameters.contains(&name) || WORDS.iter().any(|word| name.contains(word))
    }
}

/// `name=value` with the value masked. What has no name is masked whole.
fn pair(cookie: &str) -> String {
    match cookie.trim().split_once('=') {
        Some((name, _)) => format!("{name}={HIDDEN}"),
        None => HIDDEN.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn secrets_are_masked_and_what_explains_them_stays() {
        let masks = Masks::new(&Redact { query: vec!["code".into()], headers: vec!["x-key".into()] });
        let table = [
            ("Cookie", "a=1; b=2", format!("a={HIDDEN}; b={HIDDEN}")),
            ("cookie", OWN_COOKIE, OWN_COOKIE.to_string()),
            ("Set-Cookie", "id=7; Path=/; Secure", format!("id={HIDDEN}; Path=/; Secure")),
            ("Authorization", "Bearer abc", format!("Bearer {HIDDEN}")),
            ("X-Key", "abc", HIDDEN.to_string()),
            ("Referer", "https://a/?code=1&x=2", format!("https://a/?code={HIDDEN}&x=2")),
            ("Accept", "*/*", "*/*".to_string()),
        ];
        for (name, value, shown) in table {
            assert_eq!(masks.field(name, value), shown, "{name}");
        }
        assert_eq!(masks.url("/a?my_password=x&b=c"), format!("/a?my_password={HIDDEN}&b=c"));
    }

    proptest! {
        #[test]
        fn no_value_of_a_secret_field_passes(secret in "[A-Z]{8,20}", front in "[a-z =]{0,10}", back in "[a-z =;]{0,10}") {
            let masks = Masks::new(&Redact::default());
            for (name, value) in [("Cookie", format!("x={front}{secret}{back}")), ("Authorization", format!("{front}{secret}{back}"))] {
                let shown = masks.field(name, &value);
                prop_assert!(!shown.contains(&secret), "{shown}");
            }
        }
    }
}
