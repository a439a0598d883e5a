//! The difference of two texts, line by line.

/// Lines around a difference that are shown.
const CONTEXT: usize = 3;
/// Beyond so many differing lines only their number is told.
const LINES_MAX: usize = 400;

/// Lines of `old` alone marked with `-`, of `new` alone with `+`, and some lines around them.
pub(super) fn lines(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let same_start = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let most = old.len().min(new.len()) - same_start;
    let same_end = old.iter().rev().zip(new.iter().rev()).take(most).take_while(|(a, b)| a == b).count();
    let (old_middle, new_middle) =
        (&old[same_start..old.len() - same_end], &new[same_start..new.len() - same_end]);
    let mut out: Vec<String> = Vec::new();
    let before = &old[same_start.saturating_sub(CONTEXT)..same_start];
    out.extend(before.iter().map(|line| format!("  {line}")));
    if old_middle.len() + new_middle.len() > LINES_MAX {
        out.push(format!("- {} lines", old_middle.len()));
        out.push(format!("+ {} lines", new_middle.len()));
    } else {
        out.extend(middle(old_middle, new_middle));
    }
    let after = &old[old.len() - same_end..];
    out.extend(after.iter().take(CONTEXT).map(|line| format!("  {line}")));
    out.join("\n")
}

/// The longest common subsequence, walked from its end.
fn middle(old: &[&str], new: &[&str]) -> Vec<String> {
    let width = new.len() + 1;
    let mut lengths = vec![0usize; (old.len() + 1) * width];
    for row in (0..old.len()).rev() {
        for column in (0..new.len()).rev() {
            lengths[row * width + column] = if old[row] == new[column] {
                lengths[(row + 1) * width + column + 1] + 1
            } else {
                lengths[(row + 1) * width + column].max(lengths[row * width + column + 1])
            };
        }
    }
    let (mut row, mut column, mut out) = (0, 0, Vec::new());
    while row < old.len() || column < new.len() {
        let down = if row < old.len() { lengths[(row + 1) * width + column] } else { 0 };
        let right = if column < new.len() { lengths[row * width + column + 1] } else { 0 };
        if row < old.len() && column < new.len() && old[row] == new[column] {
            out.push(format!("  {}", old[row]));
            (row, column) = (row + 1, column + 1);
        } else if row < old.len() && (column == new.len() || down >= right) {
            out.push(format!("- {}", old[row]));
            row += 1;
        } else {
            out.push(format!("+ {}", new[column]));
            column += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_and_its_surroundings_are_shown() {
        assert_eq!(lines("a\nb\nc\nd\ne\nf", "a\nb\nc\nd\nE\nf"), "  b\n  c\n  d\n- e\n+ E\n  f");
        assert_eq!(lines("a\nb", "a\nb\nc"), "  a\n  b\n+ c");
        assert_eq!(lines("a\nx\nb\ny", "a\nb\nz"), "  a\n- x\n  b\n- y\n+ z");
    }
}
