//! The words of the page, in each of its languages. A struct, so that none can be missing in one of them.

mod en;
mod fields;
mod zh;

use self::fields::FIELDS;
pub(super) use self::{en::EN, zh::ZH};
use crate::message::liking;

/// What the page says.
#[derive(Debug)]
pub(super) struct Words {
    /// The tag of the language (RFC 5646), and the other one with its name.
    pub lang: &'static str,
    pub other: (&'static str, &'static str),
    pub title: &'static str,
    pub lead: &'static str,
    pub skip: &'static str,
    pub live: &'static str,
    pub still: &'static str,
    pub sites: &'static str,
    pub wires: &'static str,
    pub wires_lead: &'static str,
    pub again: &'static str,
    pub no_wires: &'static str,
    pub plain_wire: &'static str,
    pub tls_wire: &'static str,
    pub behind: &'static str,
    pub reads_all: &'static str,
    pub reads_sizes: &'static str,
    pub behind_lead: &'static str,
    pub not_behind: &'static str,
    pub of: &'static str,
    pub bytes: &'static str,
    pub content: &'static str,
    pub same_request: &'static str,
    pub in_clear: &'static str,
    pub clear_name: &'static str,
    pub clear_alpn: &'static str,
    pub clear_versions: &'static str,
    pub clear_sizes: &'static str,
    pub redirected: &'static str,
    pub ladder: &'static str,
    pub ladder_lead: &'static str,
    pub client: &'static str,
    pub proxy: &'static str,
    pub derived: &'static str,
    pub time_wait: &'static str,
    pub more_ladders: &'static str,
    pub cost: &'static str,
    pub cost_lead: &'static str,
    pub slider: &'static str,
    pub way: &'static str,
    pub trips: &'static str,
    pub trips_unit: &'static str,
    pub wire_bytes: &'static str,
    pub handshake_cpu: &'static str,
    pub at: &'static str,
    pub columns: [&'static str; 5],
    pub cost_notes: [&'static str; 3],
    pub identity: &'static str,
    pub identity_lead: &'static str,
    pub no_identity: &'static str,
    pub days: &'static str,
    pub issued_by: &'static str,
    pub until: &'static str,
    pub vouched: &'static str,
    pub vouched_nobody: &'static str,
    pub accepted: &'static str,
    pub refused: &'static str,
    pub leaf: &'static str,
    pub issuer: &'static str,
    pub requests: &'static str,
    pub requests_lead: &'static str,
    pub none_yet: &'static str,
    pub missed: &'static str,
    pub own: &'static str,
    pub plain: &'static str,
    pub on_wire_plain: &'static str,
    pub on_wire_tls: &'static str,
    pub request_diff: &'static str,
    pub answer_diff: &'static str,
    pub field: &'static str,
    pub received: &'static str,
    pub forwarded: &'static str,
    pub from_server: &'static str,
    pub to_client: &'static str,
    pub removed: &'static str,
    pub added: &'static str,
    pub changed: &'static str,
    pub not_forwarded: &'static str,
    pub left_out: &'static str,
    pub times: [&'static str; 5],
    pub classes: [&'static str; 5],
    pub methods: [(&'static str, &'static str); 3],
    pub map: &'static str,
    pub map_lead: &'static str,
    pub doors: &'static str,
    pub goes_to: &'static str,
    pub redirects_to: &'static str,
    pub answers: &'static str,
    pub in_flight: &'static str,
    pub idle: &'static str,
    pub up: &'static str,
    pub out: &'static str,
    pub posture: &'static str,
    pub posture_lead: &'static str,
    pub all_well: &'static str,
    pub risk: &'static str,
    pub care: &'static str,
    pub good: &'static str,
    pub footer: &'static str,
}

impl Words {
    /// What a field is for, where the page knows.
    pub fn field_hint(&self, name: &str) -> Option<&'static str> {
        let known = FIELDS.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name))?;
        Some(if self.lang == "zh" { known.2 } else { known.1 })
    }
}

/// The language a reader wants: `lang` of the query, else the better liked one of `Accept-Language` (RFC 9110 section
/// 12.5.4), else English.
pub(super) fn choose(query: Option<&[u8]>, accept: Option<&[u8]>) -> &'static Words {
    match query.and_then(|query| super::guard::parameter(query, b"lang")) {
        Some(b"zh") => return &ZH,
        Some(b"en") => return &EN,
        _ => {}
    }
    if liking(accept, "zh") > liking(accept, "en") { &ZH } else { &EN }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_is_the_one_the_reader_likes_better() {
        let table = [
            ("", "en"),
            ("de", "en"),
            ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
            ("en-GB,en;q=0.9,zh;q=0.8", "en"),
            ("fr, zh;q=0.2", "zh"),
            ("zh;q=0", "en"),
            ("en;q=0.5, zh-TW;q=0.7", "zh"),
        ];
        for (accept, lang) in table {
            assert_eq!(choose(None, Some(accept.as_bytes())).lang, lang, "{accept}");
        }
        assert_eq!(choose(Some(b"a=b&lang=zh"), Some(b"en")).lang, "zh");
        assert_eq!(choose(Some(b"lang=en"), Some(b"zh")).lang, "en");
        assert_eq!(choose(Some(b"lang=<script>"), None).lang, "en");
    }
}
