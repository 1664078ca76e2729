//! Printing: formats, tables, colour. Only here is written to stdout and, progress and notes, to stderr.

use super::failure::Failure;
use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;
use std::io::{self, IsTerminal, Write};

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For people with wide terminals.
    Wide,
    /// For scripts.
    Json,
    /// For scripts that read lines: a value on each.
    Jsonl,
    /// For editors.
    Yaml,
    /// For spreadsheets (`pan usage`).
    Csv,
    /// For Prometheus (`pan usage`).
    Prometheus,
}

/// Where a command prints.
pub struct Output {
    pub format: Format,
    quiet: bool,
    colour: bool,
}

impl Output {
    pub fn new(format: Format, quiet: bool) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { format, quiet, colour: !refused && io::stdout().is_terminal() }
    }

    /// Whether the output is for programs.
    pub const fn is_data(&self) -> bool {
        matches!(self.format, Format::Json | Format::Jsonl | Format::Yaml | Format::Csv | Format::Prometheus)
    }

    /// Text as it is.
    pub fn raw(&self, text: &[u8]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(text).and_then(|()| out.flush()).map_err(closed)
    }

    /// A line of text.
    pub fn line(&self, text: &str) -> Result<(), Failure> {
        self.raw(format!("{text}\n").as_bytes())
    }

    /// A line that only people want: not with `-q`, nor when the output is for programs.
    pub fn say(&self, text: &str) -> Result<(), Failure> {
        if self.quiet || self.is_data() { Ok(()) } else { self.line(text) }
    }

    /// A value for programs, whole.
    pub fn data<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), Failure> {
        let text = match self.format {
            Format::Yaml => serde_saphyr::to_string(&value).map_err(|error| write_failed(&error.to_string()))?,
            Format::Jsonl => return self.values(value),
            Format::Json | Format::Table | Format::Wide | Format::Csv | Format::Prometheus => {
                let json = serde_json::to_string_pretty(value).map_err(|error| write_failed(&error.to_string()))?;
                format!("{json}\n")
            }
        };
        self.raw(text.as_bytes())
    }

    /// A value on a line; of a list each on one of its own.
    fn values<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), Failure> {
        let value = serde_json::to_value(value).map_err(|error| write_failed(&error.to_string()))?;
        let all = value.as_array().map_or(std::slice::from_ref(&value), Vec::as_slice);
        self.raw(all.iter().map(|value| format!("{value}\n")).collect::<String>().as_bytes())
    }

    /// A value of a stream: JSON on a line of its own, or a YAML document.
    pub fn data_line(&self, value: &Value) -> Result<(), Failure> {
        if self.format == Format::Yaml {
            self.raw(b"---\n")?;
            return self.data(value);
        }
        self.line(&value.to_string())
    }

    /// A table.
    pub fn table(&self, table: &Table) -> Result<(), Failure> {
        self.raw(table.text(self.colour).as_bytes())
    }

    /// Progress of long work, on a terminal only.
    pub fn progress(&self, text: &str) {
        if !self.quiet && !self.is_data() && io::stderr().is_terminal() {
            note(text);
        }
    }

    /// What `-v` asks for.
    pub fn verbose(&self, wanted: bool, text: impl FnOnce() -> String) {
        if wanted {
            note(&text());
        }
    }
}

/// A line on stderr. That nobody reads it does not matter.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

fn closed(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe { Failure::Closed } else { Failure::local("write the output")(error) }
}

fn write_failed(reason: &str) -> Failure {
    Failure::new(pan_model::Code::Internal, format!("cannot print the answer: {reason}"))
}

/// How a cell looks on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Good,
    Doubtful,
    Bad,
}

/// A cell of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    pub text: String,
    pub tone: Tone,
}

impl Cell {
    pub fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::toned(text, Tone::Plain)
    }
}

/// Columns that line up: two spaces between them, none behind the last.
#[derive(Debug, Default)]
pub struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
    /// Widths that a column has at least: for rows that come one by one.
    widths: Vec<usize>,
}

impl Table {
    pub fn new(head: Vec<&'static str>) -> Self {
        Self { widths: head.iter().map(|name| name.len()).collect(), head, rows: Vec::new() }
    }

    pub fn push(&mut self, row: Vec<Cell>) {
        for (width, cell) in self.widths.iter_mut().zip(&row) {
            *width = (*width).max(cell.text.chars().count());
        }
        self.rows.push(row);
    }

    /// Forgets rows and head after they were printed, but not the widths.
    pub fn go_on(&mut self) {
        self.rows.clear();
        self.head.clear();
    }

    #[cfg(test)]
    pub fn columns(&self) -> usize {
        self.head.len()
    }

    /// Cells of the last row.
    #[cfg(test)]
    pub fn cells(&self) -> usize {
        self.rows.last().map_or(0, Vec::len)
    }

    fn text(&self, colour: bool) -> String {
        let mut out = String::new();
        if !self.head.is_empty() {
            let head: Vec<Cell> = self.head.iter().map(|name| Cell::from(*name)).collect();
            self.row(&head, colour, &mut out);
        }
        for row in &self.rows {
            self.row(row, colour, &mut out);
        }
        out
    }

    fn row(&self, row: &[Cell], colour: bool, out: &mut String) {
        let begin = out.len();
        for (index, (cell, width)) in row.iter().zip(&self.widths).enumerate() {
            if index > 0 {
                out.push_str("  ");
            }
            let paint = if colour { cell.tone } else { Tone::Plain };
            match paint {
                Tone::Plain => out.push_str(&cell.text),
                Tone::Good => out.push_str(&format!("\x1b[32m{}\x1b[0m", cell.text)),
                Tone::Doubtful => out.push_str(&format!("\x1b[33m{}\x1b[0m", cell.text)),
                Tone::Bad => out.push_str(&format!("\x1b[31m{}\x1b[0m", cell.text)),
            }
            let missing = width.saturating_sub(cell.text.chars().count());
            out.extend(std::iter::repeat_n(' ', missing));
        }
        out.truncate(begin + out[begin..].trim_end().len());
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(vec!["NAME", "STATE"]);
        table.push(vec!["web-1".into(), Cell::toned("running", Tone::Good)]);
        table.push(vec!["w".into(), "".into()]);
        assert_eq!(table.text(false), "NAME   STATE\nweb-1  running\nw\n");
        assert_eq!(table.text(true), "NAME   STATE\nweb-1  \x1b[32mrunning\x1b[0m\nw\n");
        table.go_on();
        table.push(vec!["x".into(), "y".into()]);
        assert_eq!(table.text(false), "x      y\n");
    }
}
