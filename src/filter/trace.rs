//! The filters of a route in a dry run: the same decisions, nothing counted, nobody asked, and each says what it found.

use std::net::IpAddr;

use super::cors::Grant;
use super::rate_limit::{Limiter, Standing};
use super::{Chain, Notes, Verdict, forward_auth};
use crate::config::RateKey;
use crate::http::headers::Client;
use crate::message::{Fields, RequestHead};
use crate::net::clock;

/// One thing that was done to a request, or asked of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The config key or the part of the proxy that did it.
    pub by: &'static str,
    /// `sets X-Client: 10.0.0.1`.
    pub what: String,
}

/// What the filters said, in the order they act.
#[derive(Debug, Default)]
pub struct Trace(pub Vec<Step>);

impl Trace {
    fn say(&mut self, by: &'static str, what: String) {
        self.0.push(Step { by, what });
    }

    pub(super) fn access(&mut self, client: IpAddr, admitted: bool) {
        self.say("access", format!("{} {client}", if admitted { "admits" } else { "refuses" }));
    }

    /// Where the request stands, without counting it.
    pub(super) fn rate_limit(&mut self, limiter: &Limiter, fields: &Fields, client: IpAddr) -> Standing {
        let standing = limiter.look(fields, client, clock::now());
        let key = match &limiter.key {
            RateKey::ClientIp => "the client's address".to_owned(),
            RateKey::Header(name) => format!("the header {name}"),
            RateKey::Route => "the route".to_owned(),
        };
        let trial = if limiter.dry_run { ", on trial" } else { "" };
        self.say(
            "rate_limit",
            match standing.wait {
                None => format!("passes, {} of {} left for {key}{trial}", standing.left, standing.burst),
                Some(_) => format!("is over, for another {} s, for {key}{trial}", standing.retry_after()),
            },
        );
        standing
    }

    pub(super) fn cors(&mut self, grant: &Grant, preflight: bool) {
        let what = match grant {
            Grant::None => "the request names no origin".to_owned(),
            Grant::Origin(origin) => format!("allows {}", String::from_utf8_lossy(origin)),
            Grant::Refused => "allows no page of this origin to read the answer".to_owned(),
        };
        self.say("cors", if preflight { format!("{what}, and answers the preflight") } else { what });
    }
}

impl Chain {
    /// The way in, as [`Chain::request`] goes it. A server of `forward_auth` is not asked: what follows holds where it
    /// answers 2xx.
    pub fn dry_run(&self, head: &mut RequestHead, client: &Client, notes: &mut Notes) -> (Verdict, Vec<Step>) {
        let mut trace = Trace::default();
        let verdict = self.admit(head, client, notes, Some(&mut trace));
        if !matches!(verdict, Verdict::Pass) {
            return (verdict, trace.0);
        }
        if let Some(basic_auth) = &self.basic_auth {
            let verdict = basic_auth.dry_run(head);
            let passes = matches!(verdict, Verdict::Pass);
            trace.say("basic_auth", if passes { "knows the user" } else { "asks for a user and password" }.to_owned());
            if !passes {
                return (verdict, trace.0);
            }
        }
        if let Some(rules) = &self.forward_auth {
            forward_auth::take_out_copies(rules, head);
            let mut what = format!("asks {} first; the rest holds where it answers 2xx", rules.target);
            if !rules.copy_headers.is_empty() {
                what += &format!(", and takes {} from it", rules.copy_headers.join(", "));
            }
            trace.say("forward_auth", what);
        }
        (Verdict::Pass, trace.0)
    }

    /// What the way back may do to an answer of a server, which is not known yet.
    pub fn outlook(&self, notes: &Notes, https: bool) -> Vec<Step> {
        let mut trace = Trace::default();
        if !self.compress.is_empty() {
            let what = match notes.coding {
                Some(coding) => format!("answers of text are coded with {}", coding.as_str()),
                None => "the client accepts none of the codings".to_owned(),
            };
            trace.say("compress", what);
        }
        if self.error_pages.is_some() {
            trace.say("error_pages", "may take the place of a server's error".to_owned());
        }
        if let Some(value) = &self.hsts {
            trace.say("hsts", if https { format!("sends {value}") } else { "is for https alone".to_owned() });
        }
        trace.0
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::filter::Shared;
    use crate::message::{Method, Version};

    #[test]
    fn a_dry_run_says_each_filter_in_order_and_counts_nothing() {
        let text = "[sites.\"a.test\"]\nproxy = 1\nallow = [\"10.0.0.0/8\"]\nhsts = { max_age = \"1d\" }\n\
                    rate_limit = { rate = \"1/h\", burst = 1 }\ncors = { origins = [\"https://b.test\"] }\ncompress = true\n";
        let loaded = crate::config::parse("t.toml", text, Path::new(".")).unwrap_or_else(|p| panic!("{p}"));
        let filters = &loaded.config.sites[0].routes[0].filters;
        let chain = Chain::build(filters, "a.test", false, &mut Shared::default()).unwrap().unwrap();
        let mut fields = Fields::default();
        let (target, authority) = (fields.store(b"/"), fields.store(b"a.test"));
        fields.push(b"Origin", b"https://b.test");
        fields.push(b"Accept-Encoding", b"br");
        let mut head = RequestHead::new(Method::GET, Version::Http11, target, authority, fields);
        let mut run = |ip: &str| {
            let client = Client { ip: ip.into(), address: ip.parse().unwrap(), https: true };
            let mut notes = Notes::default();
            let (verdict, mut steps) = chain.dry_run(&mut head, &client, &mut notes);
            steps.extend(chain.outlook(&notes, true));
            let said: Vec<_> = steps.iter().map(|step| format!("{}: {}", step.by, step.what)).collect();
            (matches!(verdict, Verdict::Pass), said)
        };
        for _ in 0..3 {
            let (passes, said) = run("10.0.0.1");
            assert!(passes);
            assert_eq!(
                said,
                [
                    "access: admits 10.0.0.1",
                    "rate_limit: passes, 0 of 1 left for the client's address",
                    "cors: allows https://b.test",
                    "compress: answers of text are coded with br",
                    "hsts: sends max-age=86400",
                ]
            );
        }
        let (passes, said) = run("11.0.0.1");
        assert!(!passes);
        assert_eq!(said[0], "access: refuses 11.0.0.1");
    }
}
