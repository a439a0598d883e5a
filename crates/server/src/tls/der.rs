//! Reads DER: tags, lengths and values, as far as certificates need them. Bytes that are anything else are `None`.

pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT_ID: u8 = 0x06;
pub(super) const BMP_STRING: u8 = 0x1e;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// The tag of `[number]` around another value.
pub(super) const fn explicit(number: u8) -> u8 {
    0xa0 | number
}

/// The tag of `[number]` in place of a primitive tag.
pub(super) const fn implicit(number: u8) -> u8 {
    0x80 | number
}

/// Values one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The tag of the next value.
    pub(super) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// The next value with its tag.
    pub(super) fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], rest) = self.rest.split_first_chunk::<2>()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // Certificates are far smaller than what four bytes of length say.
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.rest = rest;
        Some((tag, value))
    }

    /// The next value, which must have this tag.
    pub(super) fn take(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.next().filter(|(tag, _)| *tag == wanted).map(|(_, value)| value)
    }

    /// The next value if it has this tag; otherwise nothing is read.
    pub(super) fn take_if(&mut self, wanted: u8) -> Option<&'a [u8]> {
        if self.peek() == Some(wanted) { self.take(wanted) } else { None }
    }

    /// What is inside the next value, which must have this tag.
    pub(super) fn enter(&mut self, wanted: u8) -> Option<Self> {
        self.take(wanted).map(Self::new)
    }
}

/// Seconds since 1970 of a `Time`.
pub(super) fn time(tag: u8, text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match tag {
        UTC_TIME if text.len() == 12 => {
            let year: i64 = text[..2].parse().ok()?;
            // Two digits are years from 1950 to 2049.
            (if year < 50 { 2000 + year } else { 1900 + year }, &text[2..])
        }
        GENERALIZED_TIME if text.len() == 14 => (text[..4].parse().ok()?, &text[4..]),
        _ => return None,
    };
    let number = |at: usize| rest[at..at + 2].parse::<i64>().ok();
    let (month, day) = (number(0)?, number(2)?);
    let (hour, minute, second) = (number(4)?, number(6)?, number(8)?);
    let valid =
        (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61;
    valid.then(|| days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days from 1970-01-01, in the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March here, so that the leap day is the last one.
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_in_order() {
        let mut reader = Reader::new(&[SEQUENCE, 5, INTEGER, 1, 7, OCTET_STRING, 0, INTEGER, 0x81, 1, 9]);
        let mut inner = reader.enter(SEQUENCE).unwrap();
        assert_eq!(inner.take_if(OCTET_STRING), None);
        assert_eq!(inner.take(INTEGER), Some(&[7][..]));
        assert_eq!(inner.next(), Some((OCTET_STRING, &[][..])));
        assert_eq!(inner.next(), None);
        assert_eq!(reader.take(INTEGER), Some(&[9][..]));
        assert_eq!(reader.peek(), None);
    }

    #[test]
    fn lengths_beyond_the_end_are_refused() {
        for bytes in
            [&[SEQUENCE][..], &[SEQUENCE, 1], &[SEQUENCE, 0x82, 1], &[SEQUENCE, 0x80], &[SEQUENCE, 0xff]]
        {
            assert_eq!(Reader::new(bytes).next(), None, "{bytes:?}");
        }
        let huge = [SEQUENCE, 0x84, 0xff, 0xff, 0xff, 0xff, 0];
        assert_eq!(Reader::new(&huge).next(), None);
    }

    #[test]
    fn times_are_seconds_since_1970() {
        assert_eq!(time(UTC_TIME, b"700101000000Z"), Some(0));
        assert_eq!(time(UTC_TIME, b"000229120001Z"), Some(951_825_601));
        assert_eq!(time(GENERALIZED_TIME, b"20500101000000Z"), Some(2_524_608_000));
        assert_eq!(time(GENERALIZED_TIME, b"00010101000000Z"), Some(-62_135_596_800));
        for text in [&b"700101000000"[..], b"701301000000Z", b"7001010000Z", b"70010100000xZ", b"Z", b"\xff"]
        {
            assert_eq!(time(UTC_TIME, text), None);
        }
    }
}
