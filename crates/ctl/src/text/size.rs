//! Sizes for people: `33 kB`, `2.1 GB`.

/// A number of bytes in decimal units, with one decimal below ten.
pub(crate) fn humanize(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let exponent = (bytes.ilog10() / 3) as usize;
    let unit = 1000_f64.powi(i32::try_from(exponent).expect("at most six"));
    let rounded = (bytes as f64 / unit * 10.0 + 0.5).floor() / 10.0;
    if rounded < 10.0 {
        format!("{rounded:.1} {}", UNITS[exponent])
    } else {
        format!("{rounded:.0} {}", UNITS[exponent])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_to_two_digits_or_three() {
        let sizes = [0, 9, 10, 999, 1000, 1040, 16384, 20480, 24576, 32768, 143_360, 2_147_483_648, u64::MAX];
        let texts = sizes.map(humanize);
        let expected = [
            "0 B", "9 B", "10 B", "999 B", "1.0 kB", "1.0 kB", "16 kB", "20 kB", "25 kB", "33 kB", "143 kB",
            "2.1 GB", "18 EB",
        ];
        assert_eq!(texts, expected);
    }
}
