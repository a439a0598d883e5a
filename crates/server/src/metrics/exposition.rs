//! Prometheus' text format: families of samples, each with its `HELP` and `TYPE`.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use super::histogram::Histogram;

/// The media type of the text.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a family's numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Counter,
    Gauge,
    Histogram,
    Summary,
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        }
    }
}

/// Labels of a sample.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

/// Collects families; they come out sorted by name, as Go's library writes them.
#[derive(Default)]
pub(super) struct Exposition {
    families: BTreeMap<&'static str, String>,
}

impl Exposition {
    /// Adds a sample, and its family if it is the first of it.
    pub(super) fn sample(
        &mut self,
        (name, kind, help): (&'static str, Type, &str),
        labels: Labels<'_>,
        value: impl Display,
    ) {
        let text = self.family(name, kind, help);
        push_sample(text, name, "", labels, None, value);
    }

    /// Adds a histogram.
    pub(super) fn histogram(
        &mut self,
        name: &'static str,
        help: &str,
        labels: Labels<'_>,
        histogram: &Histogram,
    ) {
        let text = self.family(name, Type::Histogram, help);
        for (bound, count) in histogram.cumulative() {
            push_sample(text, name, "_bucket", labels, Some(&number(bound)), count);
        }
        let count = histogram.count();
        push_sample(text, name, "_bucket", labels, Some("+Inf"), count);
        push_sample(text, name, "_sum", labels, None, number(histogram.sum()));
        push_sample(text, name, "_count", labels, None, count);
    }

    /// Adds the sum and the count of a summary.
    pub(super) fn summary(&mut self, name: &'static str, help: &str, sum: impl Display, count: u64) {
        let text = self.family(name, Type::Summary, help);
        for quantile in ["0", "0.25", "0.5", "0.75", "1"] {
            push_sample(text, name, "", &[("quantile", quantile)], None, 0);
        }
        push_sample(text, name, "_sum", &[], None, sum);
        push_sample(text, name, "_count", &[], None, count);
    }

    /// The whole text.
    pub(super) fn finish(self) -> String {
        self.families.into_values().collect()
    }

    fn family(&mut self, name: &'static str, kind: Type, help: &str) -> &mut String {
        self.families
            .entry(name)
            .or_insert_with(|| format!("# HELP {name} {help}\n# TYPE {name} {}\n", kind.name()))
    }
}

fn push_sample(
    text: &mut String,
    name: &str,
    suffix: &str,
    labels: Labels<'_>,
    bound: Option<&str>,
    value: impl Display,
) {
    text.push_str(name);
    text.push_str(suffix);
    let mut separator = '{';
    for (label, label_value) in labels.iter().copied().chain(bound.map(|bound| ("le", bound))) {
        text.push(separator);
        text.push_str(label);
        text.push_str("=\"");
        push_escaped(text, label_value);
        text.push('"');
        separator = ',';
    }
    if separator == ',' {
        text.push('}');
    }
    // Writing to a string cannot fail.
    let _ = writeln!(text, " {value}");
}

fn push_escaped(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

/// A number as Go writes it: with an exponent below 10^-4 and from 10^6 on.
pub(super) fn number(value: f64) -> String {
    const EXPONENTS_PLAIN: std::ops::Range<i32> = -4..6;
    let scientific = format!("{value:e}");
    let parts = scientific.split_once('e');
    match parts.and_then(|(mantissa, exponent)| Some((mantissa, exponent.parse::<i32>().ok()?))) {
        Some((mantissa, exponent)) if !EXPONENTS_PLAIN.contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", exponent.abs())
        }
        Some(_) | None => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (0.001, "0.001"),
            (1.024, "1.024"),
            (524_288.0, "524288"),
            (1_048_576.0, "1.048576e+06"),
            (0.000_05, "5e-05"),
            (4.400_067_877_999_985, "4.400067877999985"),
            (2_147_483_648.0, "2.147483648e+09"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn families_are_sorted_and_labels_escaped() {
        let mut exposition = Exposition::default();
        exposition.sample(("b_total", Type::Counter, "B."), &[("l", "a\"\\\n")], 1);
        exposition.sample(("a", Type::Gauge, "A."), &[], 2);
        exposition.sample(("b_total", Type::Counter, "B."), &[("l", "c")], 3);
        assert_eq!(
            exposition.finish(),
            "# HELP a A.\n# TYPE a gauge\na 2\n# HELP b_total B.\n# TYPE b_total counter\n\
             b_total{l=\"a\\\"\\\\\\n\"} 1\nb_total{l=\"c\"} 3\n"
        );
    }
}
