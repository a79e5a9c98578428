//! Durations and sizes as a person writes them: `"1m30s"`, `"10MiB"`.

use std::time::Duration;

/// Why a text is no duration or size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnitError {
    Empty,
    /// Starts with something else than a digit.
    NotANumber,
    /// A number alone.
    NoUnit(String),
    /// A number and letters that are no unit.
    UnknownUnit {
        number: String,
        unit: String,
    },
    /// A fraction: `"1.5s"`.
    Fraction,
    /// Units of a compound not from great to small.
    Order,
    Zero,
    TooLarge,
}

/// Units of a duration from great to small, in milliseconds. A year is 365 days.
const DURATIONS: &[(&str, u64)] = &[
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Longest duration: a hundred years.
const LONGEST_MS: u64 = 100 * 365 * 86_400_000;

/// Units of a size in bytes.
const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// Greatest size: 1 PiB.
const GREATEST: u64 = 1 << 50;

/// Reads `"30s"`, `"500ms"`, `"5m"`, `"1h"`, `"90d"`, `"2w"`, `"1y"` and compounds such as `"1m30s"`. Zero is an error:
/// what switches a deadline off is the word "off".
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    let mut rest = text;
    let mut total = 0u64;
    let mut last = None;
    if rest.is_empty() {
        return Err(UnitError::Empty);
    }
    while !rest.is_empty() {
        let (number, unit, tail) = split(rest)?;
        let at = DURATIONS.iter().position(|(name, _)| *name == unit).ok_or_else(|| unknown(number, unit))?;
        if last.is_some_and(|last| last >= at) {
            return Err(UnitError::Order);
        }
        let ms = value(number)?.checked_mul(DURATIONS[at].1).ok_or(UnitError::TooLarge)?;
        total = total.checked_add(ms).filter(|sum| *sum <= LONGEST_MS).ok_or(UnitError::TooLarge)?;
        last = Some(at);
        rest = tail;
    }
    if total == 0 { Err(UnitError::Zero) } else { Ok(Duration::from_millis(total)) }
}

/// Reads `"512B"`, `"32KiB"`, `"10MiB"` (powers of 1024) and `"10MB"` (powers of 1000). `"10M"` is an error: readers
/// differ on what it means.
pub fn size(text: &str) -> Result<u64, UnitError> {
    if text.is_empty() {
        return Err(UnitError::Empty);
    }
    let (number, unit, tail) = split(text)?;
    let (_, scale) =
        SIZES.iter().find(|(name, _)| tail.is_empty() && *name == unit).ok_or_else(|| unknown(number, unit))?;
    value(number)?.checked_mul(*scale).filter(|bytes| *bytes <= GREATEST).ok_or(UnitError::TooLarge)
}

fn unknown(number: &str, unit: &str) -> UnitError {
    UnitError::UnknownUnit { number: number.to_owned(), unit: unit.to_owned() }
}

fn value(number: &str) -> Result<u64, UnitError> {
    number.parse().map_err(|_| UnitError::TooLarge)
}

/// Splits the first number and its unit off: `"1m30s"` is `("1", "m", "30s")`.
fn split(text: &str) -> Result<(&str, &str, &str), UnitError> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    if number.is_empty() {
        return Err(UnitError::NotANumber);
    }
    if rest.is_empty() {
        return Err(UnitError::NoUnit(number.to_owned()));
    }
    if rest.starts_with(['.', ',']) {
        return Err(UnitError::Fraction);
    }
    let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, tail) = rest.split_at(letters);
    Ok((number, unit, tail))
}

/// The text of a duration that [`duration`] reads back: `90s` as `"1m30s"`.
pub fn show_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, scale) in DURATIONS.iter().filter(|(unit, _)| *unit != "w") {
        if rest >= *scale {
            text.push_str(&format!("{}{unit}", rest / scale));
            rest %= scale;
        }
    }
    text
}

/// The text of a size that [`size`] reads back, in the greatest unit without a fraction: 10485760 as `"10MiB"`.
pub fn show_size(bytes: u64) -> String {
    let whole = |scale: u64| bytes >= scale && bytes.is_multiple_of(scale);
    let (unit, scale) = SIZES[..5].iter().rev().find(|(_, scale)| whole(*scale)).unwrap_or(&SIZES[0]);
    format!("{}{unit}", bytes / scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_read_as_people_write_them() {
        let table = [
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("90d", 90 * 86_400_000),
            ("1y", 365 * 86_400_000),
            ("1m30s", 90_000),
            ("1h500ms", 3_600_500),
        ];
        for (text, ms) in table {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn a_duration_that_leaves_a_doubt_is_refused() {
        let unknown = |number: &str, unit: &str| UnitError::UnknownUnit { number: number.into(), unit: unit.into() };
        let table = [
            ("", UnitError::Empty),
            ("30", UnitError::NoUnit("30".into())),
            ("soon", UnitError::NotANumber),
            ("-1s", UnitError::NotANumber),
            ("30 s", unknown("30", " s")),
            ("30sec", unknown("30", "sec")),
            ("1.5s", UnitError::Fraction),
            ("30s1m", UnitError::Order),
            ("1s1s", UnitError::Order),
            ("0s", UnitError::Zero),
            ("1m30", UnitError::NoUnit("30".into())),
            ("101y", UnitError::TooLarge),
            ("99999999999999999999s", UnitError::TooLarge),
        ];
        for (text, error) in table {
            assert_eq!(duration(text), Err(error), "{text}");
        }
    }

    #[test]
    fn sizes_are_binary_with_an_i_and_decimal_without() {
        let table = [("512B", 512), ("32KiB", 32 << 10), ("10MiB", 10 << 20), ("10MB", 10_000_000), ("1GiB", 1 << 30)];
        for (text, bytes) in table {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn a_size_that_leaves_a_doubt_is_refused() {
        let unknown = |number: &str, unit: &str| UnitError::UnknownUnit { number: number.into(), unit: unit.into() };
        let table = [
            ("10M", unknown("10", "M")),
            ("10m", unknown("10", "m")),
            ("10mib", unknown("10", "mib")),
            ("1MiB1B", unknown("1", "MiB")),
            ("10", UnitError::NoUnit("10".into())),
            ("1.5MiB", UnitError::Fraction),
            ("9999TiB", UnitError::TooLarge),
        ];
        for (text, error) in table {
            assert_eq!(size(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text in ".{0,40}") {
            let _ = duration(&text);
            let _ = size(&text);
        }

        #[test]
        fn a_duration_reads_back_as_it_was_shown(ms in 1..LONGEST_MS) {
            let given = Duration::from_millis(ms);
            prop_assert_eq!(duration(&show_duration(given)), Ok(given));
        }

        #[test]
        fn a_size_reads_back_as_it_was_shown(bytes in 0..GREATEST) {
            prop_assert_eq!(size(&show_size(bytes)), Ok(bytes));
        }
    }
}
