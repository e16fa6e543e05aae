//! What is printed: tables, details, JSON. Nothing that a sandbox or an image said reaches the terminal as a control
//! character; only the output of its program does, which is passed on as it is.

use std::io::{self, Write};

use serde::Serialize;

use super::Failure;

/// Prints one line.
///
/// # Errors
/// When standard output cannot be written.
pub fn line(text: &str) -> Result<(), Failure> {
    Ok(writeln!(io::stdout(), "{}", clean(text))?)
}

/// Tells the user something that is not the answer. It is lost when there is no standard error, which is no failure.
pub fn note(text: &str) {
    drop(writeln!(io::stderr(), "{}", clean(text)));
}

/// Prints `value` as indented JSON.
///
/// # Errors
/// When standard output cannot be written.
pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
    Ok(writeln!(io::stdout(), "{text}")?)
}

/// Prints rows in columns as wide as their widest cell.
///
/// # Errors
/// When standard output cannot be written.
pub fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> Result<(), Failure> {
    Ok(io::stdout().write_all(laid_out(head, rows).as_bytes())?)
}

/// Prints names and values below each other; a value without content is left out.
///
/// # Errors
/// When standard output cannot be written.
pub fn details(pairs: &[(&str, String)]) -> Result<(), Failure> {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 1;
    let mut out = String::new();
    for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        out.push_str(&format!("{:width$}  {}\n", format!("{name}:"), clean(value)));
    }
    Ok(io::stdout().write_all(out.as_bytes())?)
}

fn laid_out<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let rows: Vec<[String; N]> = std::iter::once(head.map(str::to_owned))
        .chain(rows.iter().map(|row| row.each_ref().map(|cell| clean(cell))))
        .collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut out = String::new();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        out.push_str(cells.join("   ").trim_end());
        out.push('\n');
    }
    out
}

/// Control characters are shown escaped, so that no text can move the cursor or hide a line.
fn clean(text: &str) -> String {
    text.chars().flat_map(shown).collect()
}

fn shown(c: char) -> Vec<char> {
    // The second range reorders text on the screen (Unicode TR 36, section 2.5).
    let hidden = c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if hidden { c.escape_default().collect() } else { vec![c] }
}

/// Bytes in the largest unit in which they are at least one: `3.2 MiB`.
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(size, _)| count >= *size) {
        // Tenths are enough for a person, and integers show no rounding surprises.
        Some((size, unit)) => format!("{}.{} {unit}", count / size, count % size * 10 / size),
        None => format!("{count} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let text = laid_out(["ID", "NAME"], &[["abc".to_owned(), String::new()], ["d".to_owned(), "é".to_owned()]]);
        assert_eq!(text, "ID    NAME\nabc\nd     é\n");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\nc\u{202e}d é"), "a\\u{1b}[2Jb\\nc\\u{202e}d é");
    }

    #[test]
    fn sizes_are_readable() {
        for (count, shown) in
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (3_355_443, "3.1 MiB"), (1 << 40, "1.0 TiB")]
        {
            assert_eq!(bytes(count), shown);
        }
    }
}
