//! Boxes around rows, with the headings centred and the cells to the right.

/// The headings and, below them, the rows.
pub(crate) fn draw(headings: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let rows: Vec<Vec<String>> =
        rows.map(|row| row.into_iter().map(|cell| cell.trim().to_owned()).collect()).collect();
    let width_of = |(column, heading): (usize, &&str)| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([heading.chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = headings.iter().enumerate().map(width_of).collect();
    let rule = |left, middle: &str, right| {
        let lines: Vec<_> = widths.iter().map(|width| "─".repeat(width + 2)).collect();
        format!("{left}{}{right}\n", lines.join(middle))
    };
    let centred = headings.iter().zip(&widths).map(|(heading, width)| format!("{heading:^width$}"));
    let mut text = rule("┌", "┬", "┐");
    text.push_str(&line(centred));
    text.push_str(&rule("├", "┼", "┤"));
    for row in &rows {
        text.push_str(&line(row.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}"))));
    }
    text.push_str(&rule("└", "┴", "┘"));
    text
}

fn line(cells: impl Iterator<Item = String>) -> String {
    format!("│ {} │\n", cells.collect::<Vec<_>>().join(" │ "))
}
