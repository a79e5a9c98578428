//! The language a reader wants (RFC 9110 section 12.5.4).

/// How much the sender of an `Accept-Language` likes a language, by the beginning of its tag (RFC 5646): 0 for not at all,
/// 1 for the most. Of languages liked as much, the one named first is slightly above.
pub fn liking(accept_language: Option<&[u8]>, language: &str) -> f32 {
    let accept = accept_language.map(String::from_utf8_lossy).unwrap_or_default();
    let tags = accept.split(',').map(|tag| tag.trim().to_ascii_lowercase());
    let weights = tags.enumerate().filter(|(_, tag)| tag.starts_with(language)).map(|(index, tag)| {
        let weight = tag.split_once("q=").map_or(1.0, |(_, weight)| weight.trim().parse::<f32>().unwrap_or(0.0));
        weight - index as f32 / 10_000.0
    });
    weights.fold(0.0, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_with_the_greater_weight_is_liked_more_and_of_equals_the_first() {
        let table = [
            ("", false),
            ("de", false),
            ("zh-CN,zh;q=0.9,en;q=0.8", true),
            ("en-GB,en;q=0.9,zh;q=0.8", false),
            ("zh,en", true),
            ("en,zh", false),
            ("zh;q=0", false),
            ("zh;q=much", false),
        ];
        for (accept, chinese) in table {
            let accept = Some(accept.as_bytes());
            assert_eq!(liking(accept, "zh") > liking(accept, "en"), chinese, "{accept:?}");
        }
        assert_eq!(liking(None, "zh"), 0.0);
    }
}
