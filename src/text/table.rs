//! Columns that are as wide as their widest cell.

/// Pads the cells of each row and joins them by spaces: to the right in the columns of `left`, to
/// the left in the others. Widths are counted in characters.
pub fn align<const N: usize>(rows: &[[String; N]], left: &[usize]) -> Vec<String> {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; N]| {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            // Not by `{:>width$}`, which panics if the width is over u16::MAX.
            let padding = " ".repeat(width - cell.chars().count());
            let separator = if column == 0 { "" } else { " " };
            match left.contains(&column) {
                true => line.extend([separator, cell, &padding]),
                false => line.extend([separator, &padding, cell]),
            }
        }
        line
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a", "1", "x"], ["bé", "100", "long"]].map(|row| row.map(str::to_owned));
        assert_eq!(align(&rows, &[0, 2]), ["a    1 x   ", "bé 100 long"]);
        assert_eq!(align(&rows, &[])[0], " a   1    x");
        let wide = [
            ["x".repeat(70_000), String::new()],
            ["y".into(), "z".into()],
        ];
        assert_eq!(align(&wide, &[1])[1].len(), 70_002);
    }
}
