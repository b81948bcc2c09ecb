//! What the user sees. Results go to standard output, everything else to standard error.
//!
//! For programs, a command prints one object with `"schema": 1`, or a stream of such objects, one a
//! line; a failure is the last object, with the key `error`.

use std::fmt;
use std::io::{self, IsTerminal, Stderr, Write};
use std::iter::repeat_n;

use anstream::adapter::strip_str;
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::args::{Color, Format};
use crate::exit::{Failure, Result};
use crate::screen;

/// Version of every JSON object: raised when a key changes its meaning or goes; new keys don't.
const SCHEMA: u32 = 1;

/// Headings and names.
pub(crate) const BOLD: Style = Style::new().bold();
/// What matters less.
pub(crate) const DIM: Style = Style::new().dimmed();
/// What is well.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// What needs care.
pub(crate) const CARE: Style = AnsiColor::Yellow.on_default();
/// What is wrong.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();

/// Both streams, with the user's choice of format and colour.
#[derive(Debug)]
pub(crate) struct Output {
    format: Format,
    results: Results,
    notes: AutoStream<Stderr>,
}

/// Standard output, collected: one system call for many lines. On a terminal each line comes at once.
#[derive(Debug)]
struct Results {
    waiting: Vec<u8>,
    colored: bool,
    terminal: bool,
}

impl Results {
    /// Bytes that wait at most.
    const MOST: usize = 64 << 10;

    fn put(&mut self, text: &str) -> io::Result<()> {
        if self.colored {
            self.waiting.extend_from_slice(text.as_bytes());
        } else {
            write!(self.waiting, "{}", strip_str(text))?;
        }
        if self.terminal || self.waiting.len() >= Self::MOST {
            return self.flush();
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(&self.waiting);
        self.waiting.clear();
        written.and_then(|()| stdout.flush())
    }
}

#[derive(Serialize)]
struct Object<'a, T> {
    schema: u32,
    #[serde(flatten)]
    body: &'a T,
}

impl Output {
    /// Output as the user asked for it.
    pub(crate) fn new(format: Format, color: Color) -> Self {
        let choice = |auto: ColorChoice| match color {
            Color::Auto => auto,
            Color::Always => ColorChoice::AlwaysAnsi,
            Color::Never => ColorChoice::Never,
        };
        let stdout = choice(AutoStream::choice(&io::stdout()));
        let stderr = choice(AutoStream::choice(&io::stderr()));
        Self {
            format,
            results: Results {
                waiting: Vec::new(),
                colored: matches!(stdout, ColorChoice::Always | ColorChoice::AlwaysAnsi),
                terminal: io::stdout().is_terminal(),
            },
            notes: AutoStream::new(io::stderr(), stderr),
        }
    }

    /// Whether results are for programs.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether a progress bar would be seen and is no nuisance.
    pub(crate) fn shows_progress(&self) -> bool {
        !self.is_json() && io::stderr().is_terminal()
    }

    /// Whether a view of the whole terminal would be seen.
    pub(crate) fn shows_view(&self) -> bool {
        !self.is_json() && screen::is_possible()
    }

    /// Whether results have colour.
    pub(crate) fn is_colored(&self) -> bool {
        self.results.colored
    }

    /// Prints the one object of a command.
    pub(crate) fn object(&mut self, body: &impl Serialize) -> Result<()> {
        self.serialize(body)
    }

    /// Prints one object of a stream, at once.
    pub(crate) fn event(&mut self, body: &impl Serialize) -> Result<()> {
        self.serialize(body)?;
        self.flush()
    }

    fn serialize(&mut self, body: &impl Serialize) -> Result<()> {
        let object = Object {
            schema: SCHEMA,
            body,
        };
        let text = serde_json::to_string(&object)
            .map_err(|error| Failure::Stream(io::Error::from(error)))?;
        self.line(format_args!("{text}"))
    }

    /// Prints a line of results for people.
    pub(crate) fn line(&mut self, text: fmt::Arguments<'_>) -> Result<()> {
        self.text(&format!("{text}\n"))
    }

    /// Prints several lines of results, each already ended.
    pub(crate) fn text(&mut self, text: &str) -> Result<()> {
        self.results.put(text).map_err(Failure::Stream)
    }

    /// Brings out what was printed.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.results.flush().map_err(Failure::Stream)
    }

    /// Tells something on standard error, behind the results so far: progress, a hint.
    pub(crate) fn note(&mut self, text: fmt::Arguments<'_>) -> Result<()> {
        self.flush()?;
        writeln!(self.notes, "{text}").map_err(Failure::Stream)
    }

    /// Asks on standard error; the cursor stays behind the question.
    pub(crate) fn ask(&mut self, question: fmt::Arguments<'_>) -> Result<()> {
        self.flush()?;
        write!(self.notes, "{question}").map_err(Failure::Stream)
    }

    /// Tells a failure on standard error: what failed, then labelled facts.
    pub(crate) fn error(&mut self, action: &str, details: &[(&str, &str)]) -> Result<()> {
        write!(
            self.notes,
            "{BAD}error:{BAD:#} {action}\n{}",
            labelled(details)
        )
        .map_err(Failure::Stream)
    }
}

/// Lines of label and value, the values in one column; further lines of a value stay in it.
pub(crate) fn labelled(facts: &[(&str, impl AsRef<str>)]) -> String {
    let width = facts
        .iter()
        .map(|(label, _)| label.len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for (label, value) in facts {
        let mut label = *label;
        for line in value.as_ref().lines() {
            text += &format!("  {DIM}{label:width$}{DIM:#} {line}\n");
            label = "";
        }
    }
    text
}

/// Rows in columns: each as wide as its widest cell, the last as wide as it is.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub(crate) fn new(headings: &[&str]) -> Self {
        let rows = vec![headings.iter().map(ToString::to_string).collect()];
        Self { rows }
    }

    /// Adds a row; an empty cell shows as `-`.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let filled = |cell: String| {
            if cell.is_empty() {
                "-".to_owned()
            } else {
                cell
            }
        };
        self.rows.push(cells.into_iter().map(filled).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| visible(cell)).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (number, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line += cell;
                line.extend(repeat_n(' ', width - visible(cell) + 2));
            }
            let line = line.trim_end();
            if number == 0 {
                writeln!(f, "{BOLD}{line}{BOLD:#}")?;
            } else {
                writeln!(f, "{line}")?;
            }
        }
        Ok(())
    }
}

/// Characters that are seen: colours take no room.
pub(crate) fn visible(cell: &str) -> usize {
    strip_str(cell).to_string().chars().count()
}

/// Bytes for people: `512 B`, `39.0 KiB`, `96.0 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut tenths = (u128::from(count) * 10 + 512) / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths = (tenths + 512) / 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(styled: &str) -> String {
        strip_str(styled).to_string()
    }

    #[test]
    fn facts_are_aligned_and_keep_their_lines_together() {
        let text = labelled(&[("waited", "5.0 s"), ("last read", "1\n2")]);
        assert_eq!(
            plain(&text),
            "  waited    5.0 s\n  last read 1\n            2\n"
        );
        assert_eq!(labelled(&[("", ""); 0]), "");
    }

    #[test]
    fn columns_are_aligned_and_nothing_trails() {
        let mut table = Table::new(&["A", "LONG", "B"]);
        table.row(["abc", "", "d"].map(String::from));
        assert_eq!(plain(&table.to_string()), "A    LONG  B\nabc  -     d\n");
    }

    #[test]
    fn sizes_read_well() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (39_985, "39.0 KiB"),
            (31_329, "30.6 KiB"),
            (96 << 20, "96.0 MiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (3 << 30, "3.0 GiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }
}
