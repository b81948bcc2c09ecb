//! Figures with names, kept in a file and compared with earlier ones.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use hailo_vfio::device::probe::Latency;
use hailo_vfio::{Error, ErrorKind};
use serde::{Deserialize, Serialize};

use crate::exit::Result;
use crate::output::Table;

/// The figures of one probe, in the order in which they are told.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Figures(Vec<Figure>);

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Figure {
    name: String,
    value: f64,
    unit: String,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    schema: u32,
    probe: String,
    figures: Figures,
}

/// A figure beside the earlier one of its name.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    unit: String,
    now: f64,
    before: Option<f64>,
    /// In percent of the earlier value.
    change: Option<f64>,
}

/// Figures beside earlier ones.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Rows(Vec<Row>);

impl Figures {
    pub(super) fn add(&mut self, name: impl Into<String>, value: f64, unit: &str) {
        self.0.push(Figure {
            name: name.into(),
            value,
            unit: unit.to_owned(),
        });
    }

    /// The two figures of a latency that are worth comparing.
    pub(super) fn add_latency(&mut self, name: &str, latency: &Latency) {
        self.add(format!("{name}, p50"), latency.p50_us, "us");
        self.add(format!("{name}, p99"), latency.p99_us, "us");
    }

    /// Reads figures of the same probe.
    pub(super) fn read(file: &Path, probe: &str) -> Result<Self> {
        let action = |what: &str| format!("{} {what}", file.display());
        let bad = |what: &str| Error::new(ErrorKind::BadInput, "", action(what));
        let text = fs::read(file).map_err(|error| bad("can't be read").because(error))?;
        let kept: Kept = serde_json::from_slice(&text)
            .map_err(|error| bad("holds no figures kept by --save").because(error))?;
        if kept.schema != 1 || kept.probe != probe {
            return Err(bad("holds figures of another probe")
                .fact(
                    "found",
                    format!("probe {}, schema {}", kept.probe, kept.schema),
                )
                .fact("expected", format!("probe {probe}, schema 1"))
                .into());
        }
        Ok(kept.figures)
    }

    pub(super) fn write(self, file: &Path, probe: &str) -> Result<()> {
        let kept = Kept {
            schema: 1,
            probe: probe.to_owned(),
            figures: self,
        };
        let written = serde_json::to_vec_pretty(&kept)
            .map_err(io::Error::from)
            .and_then(|text| fs::write(file, text));
        written.map_err(|error| {
            let action = format!("{} can't be written", file.display());
            Error::new(ErrorKind::Io, "", action).because(error).into()
        })
    }

    /// These figures beside earlier ones of the same names.
    pub(super) fn beside(&self, before: &Self) -> Rows {
        let row = |figure: &Figure| {
            let before = before.0.iter().find(|other| other.name == figure.name);
            let before = before.map(|other| other.value);
            Row {
                name: figure.name.clone(),
                unit: figure.unit.clone(),
                now: figure.value,
                before,
                change: before
                    .filter(|before| *before != 0.0)
                    .map(|before| ((figure.value / before - 1.0) * 1000.0).round() / 10.0),
            }
        };
        Rows(self.0.iter().map(row).collect())
    }
}

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&["FIGURE", "NOW", "BASELINE", "CHANGE"]);
        for row in &self.0 {
            let with_unit = |value: f64| format!("{value} {}", row.unit);
            table.row([
                row.name.clone(),
                with_unit(row.now),
                row.before.map(with_unit).unwrap_or_default(),
                row.change
                    .map(|change| format!("{change:+.1} %"))
                    .unwrap_or_default(),
            ]);
        }
        table.fmt(f)
    }
}

/// A table of latencies.
pub(super) fn latencies<'a>(
    heading: &str,
    rows: impl IntoIterator<Item = (String, &'a Latency)>,
) -> String {
    let mut table = Table::new(&[heading, "P50", "P99", "MIN", "MAX", "SAMPLES"]);
    for (name, latency) in rows {
        let us = |value: f64| format!("{value:.3} us");
        table.row([
            name,
            us(latency.p50_us),
            us(latency.p99_us),
            us(latency.min_us),
            us(latency.max_us),
            latency.samples.to_string(),
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_again_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("kept.json");
        let mut before = Figures::default();
        before.add("a", 2.0, "us");
        before.add("gone", 1.0, "us");
        before.write(&file, "irq").unwrap();
        let mut now = Figures::default();
        now.add("new", 7.0, "us");
        now.add("a", 3.0, "us");
        let rows = now.beside(&Figures::read(&file, "irq").unwrap());
        let told: Vec<_> = rows.0.iter().map(|row| (row.before, row.change)).collect();
        assert_eq!(told, [(None, None), (Some(2.0), Some(50.0))]);
        assert!(Figures::read(&file, "mmio").is_err());
    }

    #[test]
    fn a_file_that_holds_something_else_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("kept.json");
        assert!(Figures::read(&file, "irq").is_err());
        fs::write(&file, "{\"schema\": 1}").unwrap();
        assert!(Figures::read(&file, "irq").is_err());
    }
}
