//! Values on the command line that the parser does not know by itself: sizes, times.

use std::time::Duration;

/// More than anybody waits, and no more than clocks can add.
const MOST_SECONDS: f64 = 1e9;

/// A time: seconds, more than none.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let number: Option<f64> = text.parse().ok();
    number
        .filter(|seconds| *seconds > 0.0)
        .map(|seconds| Duration::from_secs_f64(seconds.min(MOST_SECONDS)))
        .ok_or_else(|| "a time is a number of seconds above 0".to_owned())
}

/// A size: bytes, or a number with K, M or G behind it.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 10),
        Some(b'M') => (&text[..text.len() - 1], 20),
        Some(b'G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: Option<u64> = digits.parse().ok();
    number
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| "a size is a number of bytes, or one with K, M or G behind it".to_owned())
}

/// The same, of what moves at once: at most 16 MiB.
pub(crate) fn transfer_size(text: &str) -> Result<u32, String> {
    let size = size(text)?;
    let fits = u32::try_from(size).ok().filter(|size| *size <= 16 << 20);
    fits.filter(|size| *size > 0)
        .ok_or_else(|| "a transfer has 1 byte to 16M".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("100M"), Ok(100 << 20));
        assert_eq!(size("4097"), Ok(4097));
        assert_eq!(size("1G"), Ok(1 << 30));
        for text in ["", "M", "1.5M", "-1", "1T", "99999999999G"] {
            assert!(size(text).is_err(), "{text:?}");
        }
        assert_eq!(transfer_size("16M"), Ok(16 << 20));
        for text in ["0", "17M", "8G", "x"] {
            assert!(transfer_size(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn times_are_numbers_above_nothing() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        assert_eq!(seconds("inf"), Ok(Duration::from_secs(1_000_000_000)));
        for text in ["0", "-1", "nan", "", "1s"] {
            assert!(seconds(text).is_err(), "{text:?}");
        }
    }
}
