//! The root as a configuration profile of Apple's: the one form of which iPhones and iPads make a trusted root.

/// The profile of a root: its DER in base64, and its SHA-256 in hexadecimal, of which the identifiers are made, so that a
/// profile that is installed again replaces itself. `None` where that is no SHA-256.
pub(super) fn text(base64: &str, fingerprint: &str) -> Option<String> {
    let (payload, profile) = (uuid(fingerprint.get(..32)?)?, uuid(fingerprint.get(32..)?)?);
    let identifier = format!("vestibule.development-ca.{}", fingerprint.get(..16)?);
    Some(format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
<key>PayloadType</key><string>Configuration</string>
<key>PayloadVersion</key><integer>1</integer>
<key>PayloadIdentifier</key><string>{identifier}</string>
<key>PayloadUUID</key><string>{profile}</string>
<key>PayloadDisplayName</key><string>vestibule development CA</string>
<key>PayloadDescription</key><string>Trusts the development root of one computer, for local names and private addresses only.</string>
<key>PayloadRemovalDisallowed</key><false/>
<key>PayloadContent</key>
<array>
<dict>
<key>PayloadType</key><string>com.apple.security.root</string>
<key>PayloadVersion</key><integer>1</integer>
<key>PayloadIdentifier</key><string>{identifier}.root</string>
<key>PayloadUUID</key><string>{payload}</string>
<key>PayloadDisplayName</key><string>vestibule development CA</string>
<key>PayloadCertificateFileName</key><string>vestibule-root.crt</string>
<key>PayloadContent</key>
<data>
{base64}
</data>
</dict>
</array>
</dict>
</plist>
"#
    ))
}

/// 32 hexadecimal digits as a UUID of version 8, whose bits are anybody's own (RFC 9562 section 5.8).
fn uuid(digits: &str) -> Option<String> {
    let part = |range| digits.get(range);
    let (a, b, c, d, e) = (part(0..8)?, part(8..12)?, part(13..16)?, part(17..20)?, part(20..32)?);
    Some(format!("{a}-{b}-8{c}-8{d}-{e}").to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identifiers_are_made_of_the_fingerprint() {
        let fingerprint = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let text = text("QUJD", fingerprint).unwrap();
        assert!(text.contains("<string>BA7816BF-8F01-8FEA-8141-40DE5DAE2223</string>"), "{text}");
        assert!(text.contains("<string>vestibule.development-ca.ba7816bf8f01cfea</string>"), "{text}");
        assert!(super::text("QUJD", "ba78").is_none());
    }
}
