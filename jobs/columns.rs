//! Columns of text, as the programs that answer questions show them.

use std::fmt::Write;

use indicatif::HumanCount;

/// How a column is set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows under their titles, each column as wide as its widest cell; nothing where there are no rows.
pub(crate) fn table<const N: usize>(
    titles: [&str; N],
    align: [Align; N],
    rows: impl Iterator<Item = Vec<String>>,
) -> String {
    let mut all = vec![titles.map(str::to_owned).to_vec()];
    all.extend(rows);
    if all.len() == 1 {
        return String::new();
    }
    let width =
        |at: usize| all.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = "\n".to_owned();
    for row in &all {
        let mut line = String::new();
        for ((cell, width), align) in row.iter().zip(&widths).zip(align) {
            let _ = match align {
                Align::Left => write!(line, "  {cell:<width$}"),
                Align::Right => write!(line, "  {cell:>width$}"),
            };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// A number with its thousands apart.
pub(crate) fn count(number: u64) -> String {
    HumanCount(number).to_string()
}

#[cfg(test)]
mod tests {
    use super::Align::{Left, Right};
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["like".to_owned(), "1,234".to_owned()], vec!["membership".to_owned(), "7".to_owned()]];
        let expected = "
  stream      events
  like         1,234
  membership       7
";
        assert_eq!(table(["stream", "events"], [Left, Right], rows.into_iter()), expected);
        assert_eq!(table(["stream", "events"], [Left, Right], std::iter::empty()), "");
    }
}
