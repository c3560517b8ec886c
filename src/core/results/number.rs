//! Decides which texts are numbers. Pure.
//!
//! A number has JSON's grammar (RFC 8259, section 6), with a leading `+` and surrounding white space allowed. That
//! accepts what programs print, and no name that happens to look like a number. So `007`, `0x10`, `.5`, `1_000` and
//! `1,5` are texts.

/// The result of reading a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ParsedNumber<'a> {
    /// A finite number, as it is written.
    Number(&'a str),
    /// NaN, an infinity, or a number beyond the largest double.
    NotFinite(&'a str),
    /// No number at all.
    Not,
}

/// Reads a text.
pub(super) fn read(text: &str) -> ParsedNumber<'_> {
    let text = text.trim();
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if ["nan", "inf", "infinity"].iter().any(|word| unsigned.eq_ignore_ascii_case(word)) {
        return ParsedNumber::NotFinite(text);
    }
    if !is_json_number(unsigned) {
        return ParsedNumber::Not;
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => ParsedNumber::Number(text),
        _ => ParsedNumber::NotFinite(text),
    }
}

/// `int [frac] [exp]` of RFC 8259.
fn is_json_number(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|exponent| digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_json_numbers_with_an_optional_plus_and_nothing_else() {
        for text in ["0", "-0", "1", "+1", "0.10", "-1.5e-3", "1E+9", "123456789012345678901234567890", "5e-324"] {
            assert_eq!(read(text), ParsedNumber::Number(text), "{text}");
        }
        assert_eq!(read(" \t0.8\r\n"), ParsedNumber::Number("0.8"));
        for text in [
            "", " ", "-", "+", "+-1", "--1", "007", "00", "-01", ".5", "5.", "1e", "1e+", "e5", "1.e5", "0x10", "1_000",
        ] {
            assert_eq!(read(text), ParsedNumber::Not, "{text}");
        }
        for text in ["1,5", "1 2", "12a", "0b1", "٣", "0.8%", "true", "null", "1.2.3", "1e5.5", "infinite", "nano"] {
            assert_eq!(read(text), ParsedNumber::Not, "{text}");
        }
    }

    #[test]
    fn distinguishes_numbers_that_are_not_finite_from_texts() {
        for text in ["NaN", "nan", "-nan", "inf", "+Inf", "-inf", "Infinity", "-Infinity", "1e999", "-1e999"] {
            assert_eq!(read(text), ParsedNumber::NotFinite(text), "{text}");
        }
    }
}
