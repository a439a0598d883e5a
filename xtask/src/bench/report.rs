//! Medians, their spread, ratios, and whether a floor is met.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What a measured value must reach beside the reference's value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Floor {
    /// No demand; the value informs.
    None,
    /// Ours is at least so many times the reference's.
    RatioMin(f64),
    /// Ours is at most so many times the reference's.
    RatioMax(f64),
    /// Ours is at most this, in the metric's unit.
    Max(f64),
    /// Ours is at least this, in the metric's unit.
    Min(f64),
}

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) floor: Floor,
}

impl Metric {
    pub(super) const fn new(name: &'static str, unit: &'static str, floor: Floor) -> Self {
        Self { name, unit, floor }
    }
}

/// One metric's values of both sides, one per round.
#[derive(Debug)]
struct Row {
    metric: Metric,
    reference: Vec<f64>,
    ours: Vec<f64>,
}

/// All that was measured, in the order of its first appearance.
#[derive(Debug, Default)]
pub(super) struct Report {
    rows: Vec<Row>,
    places: BTreeMap<(&'static str, &'static str), usize>,
}

impl Report {
    pub(super) fn add(&mut self, metric: Metric, value: f64, is_ours: bool) {
        let place = *self.places.entry((metric.name, metric.unit)).or_insert(self.rows.len());
        if place == self.rows.len() {
            self.rows.push(Row { metric, reference: Vec::new(), ours: Vec::new() });
        }
        let row = &mut self.rows[place];
        if is_ours { row.ours.push(value) } else { row.reference.push(value) }
    }

    /// The rows as a Markdown table, which reads well on a terminal too.
    pub(super) fn table(&self) -> String {
        let cells: Vec<[String; 7]> = self.rows.iter().map(Row::cells).collect();
        let head = ["metric", "unit", "etcd", "etched", "ratio", "floor", ""].map(str::to_owned);
        let mut widths = [0; 7];
        for row in std::iter::once(&head).chain(&cells) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let mut text = String::new();
        write_row(&mut text, &head, &widths);
        write_row(&mut text, &widths.map(|width| "-".repeat(width)), &widths);
        cells.iter().for_each(|row| write_row(&mut text, row, &widths));
        text
    }

    /// How many floors are missed.
    pub(super) fn misses(&self) -> usize {
        self.rows.iter().filter(|row| row.is_met() == Some(false)).count()
    }
}

fn write_row(text: &mut String, cells: &[String; 7], widths: &[usize; 7]) {
    for (cell, width) in cells.iter().zip(widths) {
        write!(text, "| {cell:width$} ").expect("a string takes all");
    }
    text.push_str("|\n");
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        Some(median(&self.ours)? / median(&self.reference)?)
    }

    /// Whether the floor is met; `None` if there is none, or a side was not measured.
    fn is_met(&self) -> Option<bool> {
        match self.metric.floor {
            Floor::None => None,
            Floor::RatioMin(min) => Some(self.ratio()? >= min),
            Floor::RatioMax(max) => Some(self.ratio()? <= max),
            Floor::Max(max) => Some(median(&self.ours)? <= max),
            Floor::Min(min) => Some(median(&self.ours)? >= min),
        }
    }

    fn cells(&self) -> [String; 7] {
        let floor = match self.metric.floor {
            Floor::None => String::new(),
            Floor::RatioMin(min) => format!(">= {min} x"),
            Floor::RatioMax(max) => format!("<= {max} x"),
            Floor::Max(max) => format!("<= {max} {}", self.metric.unit),
            Floor::Min(min) => format!(">= {min} {}", self.metric.unit),
        };
        let verdict = match self.is_met() {
            None => "",
            Some(true) => "PASS",
            Some(false) => "MISS",
        };
        [
            self.metric.name.to_owned(),
            self.metric.unit.to_owned(),
            summary(&self.reference),
            summary(&self.ours),
            self.ratio().map_or_else(String::new, |ratio| format!("{} x", digits(ratio))),
            floor,
            verdict.to_owned(),
        ]
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        len if len % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// The median, and the smallest and largest value where there are several.
fn summary(values: &[f64]) -> String {
    let Some(median) = median(values) else { return "-".to_owned() };
    if values.len() == 1 {
        return digits(median);
    }
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(0.0, f64::max);
    format!("{} ({}..{})", digits(median), digits(low), digits(high))
}

/// A number with about three digits that count.
fn digits(value: f64) -> String {
    let decimals = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else if value >= 1.0 {
        2
    } else {
        3
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floors_are_judged_by_medians() {
        let mut report = Report::default();
        let puts = Metric::new("put", "1/s", Floor::RatioMin(1.8));
        for (reference, ours) in [(10.0, 30.0), (20.0, 36.0), (30.0, 1.0)] {
            report.add(puts, reference, false);
            report.add(puts, ours, true);
        }
        let pause = Metric::new("pause", "ms", Floor::Max(50.0));
        report.add(pause, 51.0, true);
        assert_eq!(report.misses(), 2);
        let table = report.table();
        assert!(
            table.contains("| 20.0 (10.0..30.0) | 30.0 (1.00..36.0) | 1.50 x | >= 1.8 x | MISS |"),
            "{table}"
        );
        assert!(table.contains("| -                 | 51.0 "), "{table}");
    }
}
