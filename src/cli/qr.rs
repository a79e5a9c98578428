//! QR codes for a terminal (ISO/IEC 18004): two modules a character, one in its upper half and one in its lower.

use qrcodegen::{QrCode, QrCodeEcc};

/// The light modules around a code, without which a camera does not find it.
const QUIET: i32 = 4;
/// Black on white, whatever the theme of the terminal.
const BLACK_ON_WHITE: &str = "\x1b[38;5;16;48;5;231m";
const RESET: &str = "\x1b[0m";

/// A code, line by line; `None` where the text is too long for one. Without `color` the light modules are drawn, which is
/// right on a dark terminal; most cameras read the negative, too.
pub(super) fn lines(text: &str, color: bool) -> Option<Vec<String>> {
    let code = QrCode::encode_text(text, QrCodeEcc::Low).ok()?;
    let modules = -QUIET..code.size() + QUIET;
    let drawn = |x, y| y < modules.end && code.get_module(x, y) == color;
    let half = |x, y| match (drawn(x, y), drawn(x, y + 1)) {
        (true, true) => '█',
        (true, false) => '▀',
        (false, true) => '▄',
        (false, false) => ' ',
    };
    let line = |y| {
        let line: String = modules.clone().map(|x| half(x, y)).collect();
        if color { format!("{BLACK_ON_WHITE}{line}{RESET}") } else { line }
    };
    Some(modules.clone().step_by(2).map(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_draw_show_the_same_modules() {
        let url = "http://192.168.100.200:8080/.vestibule/ca";
        let (plain, colored) = (lines(url, false).unwrap(), lines(url, true).unwrap());
        let inverse = |c| match c {
            '█' => ' ',
            '▀' => '▄',
            '▄' => '▀',
            _ => '█',
        };
        for (plain, colored) in plain.iter().zip(&colored) {
            let colored = colored.strip_prefix(BLACK_ON_WHITE).unwrap().strip_suffix(RESET).unwrap();
            // The half below the last row is no module: neither draws it.
            let upper = |line: &str| line.chars().map(|c| matches!(c, '█' | '▀')).collect::<Vec<_>>();
            assert_eq!(upper(plain), upper(&colored.chars().map(inverse).collect::<String>()));
        }
        // Two of them stand side by side in 80 columns.
        assert!(plain[0].chars().count() <= 39 && plain.len() * 2 - 1 == plain[0].chars().count());
    }

    #[test]
    fn what_is_too_long_has_no_code() {
        assert!(lines(&"a".repeat(3000), true).is_none());
    }
}
