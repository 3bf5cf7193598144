//! Text for a terminal: tables, and blocks of headings with lines.

use std::fmt::Write as _;

/// A table with a line of names, columns as wide as they need to be.
pub fn table<const N: usize>(names: [&str; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let widest = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
        widest.max(names[column].len())
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |cells: &[String; N]| {
        let padded: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", padded.join("   ").trim_end())
    };
    std::iter::once(line(&names.map(str::to_owned))).chain(rows.iter().map(line)).collect()
}

/// Lines below headings: the first stands beside its heading, the others under it.
#[derive(Debug)]
pub struct Block {
    text: String,
    width: usize,
}

impl Block {
    /// A block under a title; headings take `width` columns.
    pub fn new(title: &str, width: usize) -> Self {
        Self { text: format!("{title}\n"), width }
    }

    /// Adds lines under a heading; nothing where there are none.
    pub fn lines<T: AsRef<str>>(&mut self, heading: &str, lines: impl IntoIterator<Item = T>) {
        let mut heading = heading;
        for line in lines {
            // Writing to a String cannot fail.
            let _ = writeln!(self.text, "  {heading:<width$}  {}", line.as_ref(), width = self.width);
            heading = "";
        }
    }

    /// The text.
    pub fn finish(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_need_to_be() {
        let rows = [["slack".to_owned(), String::new()], ["a".to_owned(), "b".to_owned()]];
        assert_eq!(table(["NAME", "KIND"], &rows), "NAME    KIND\nslack\na       b\n");
    }

    #[test]
    fn a_heading_stands_once() {
        let mut block = Block::new("slack", 4);
        block.lines("Urls", ["a", "b"]);
        block.lines("None", None::<String>);
        block.lines("One", Some("c"));
        assert_eq!(block.finish(), "slack\n  Urls  a\n        b\n  One   c\n");
    }
}
