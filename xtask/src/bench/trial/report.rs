//! The report of a benchmark: its measures with their bounds, and the machine, as a table and as a JSON file. IO: reads
//! /proc, prints, writes the file.

use std::fs;
use std::thread;

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::{files, workspace};

/// A limit that a measure must keep.
#[derive(Clone, Copy, Debug)]
enum Bound {
    None,
    AtMost(f64),
    AtLeast(f64),
}

#[derive(Debug)]
struct Measure {
    key: String,
    value: f64,
    unit: &'static str,
    bound: Bound,
}

/// The result of one benchmark.
#[derive(Debug)]
pub(super) struct Report {
    bench: &'static str,
    parameters: Map<String, Value>,
    machine: Value,
    measures: Vec<Measure>,
}

impl Report {
    /// An empty report. Describes the machine as it is now, before anything is measured.
    pub(super) fn new(bench: &'static str) -> Self {
        Self { bench, parameters: Map::new(), machine: machine(), measures: Vec::new() }
    }

    /// Adds a parameter of the benchmark.
    pub(super) fn parameter(&mut self, key: &str, value: impl Into<Value>) {
        self.parameters.insert(key.to_owned(), value.into());
    }

    /// Adds a measure without a bound.
    pub(super) fn measure(&mut self, key: impl Into<String>, value: f64, unit: &'static str) {
        self.add(key.into(), value, unit, Bound::None);
    }

    /// Adds a measure that must not be larger than `bound`.
    pub(super) fn at_most(&mut self, key: impl Into<String>, value: f64, unit: &'static str, bound: f64) {
        self.add(key.into(), value, unit, Bound::AtMost(bound));
    }

    /// Adds a measure that must not be smaller than `bound`.
    pub(super) fn at_least(&mut self, key: impl Into<String>, value: f64, unit: &'static str, bound: f64) {
        self.add(key.into(), value, unit, Bound::AtLeast(bound));
    }

    fn add(&mut self, key: String, value: f64, unit: &'static str, bound: Bound) {
        self.measures.push(Measure { key, value, unit, bound });
    }

    /// Whether every bound holds.
    pub(super) fn holds(&self) -> bool {
        self.measures.iter().all(Measure::holds)
    }

    /// Prints the table.
    pub(super) fn print(&self) {
        let parameters: Vec<_> = self.parameters.iter().map(|(key, value)| format!("{key} {value}")).collect();
        println!("\n{}: {}", self.bench, parameters.join(", "));
        for measure in &self.measures {
            println!("{}", measure.line());
        }
    }

    /// Writes the file `target/bench/NAME.json`.
    pub(super) fn write(&self) -> Result<()> {
        let file = workspace::target_dir()?.join("bench").join(format!("{}.json", self.bench));
        files::write(&file, format!("{:#}\n", self.json()))?;
        println!("written: {}", file.display());
        Ok(())
    }

    fn json(&self) -> Value {
        let measures: Map<_, _> = self.measures.iter().map(|measure| (measure.key.clone(), measure.json())).collect();
        json!({
            "bench": self.bench,
            "holds": self.holds(),
            "parameters": self.parameters,
            "machine": self.machine,
            "measures": measures,
        })
    }
}

impl Measure {
    fn holds(&self) -> bool {
        match self.bound {
            Bound::None => true,
            Bound::AtMost(bound) => self.value <= bound,
            Bound::AtLeast(bound) => self.value >= bound,
        }
    }

    fn line(&self) -> String {
        let verdict = if self.holds() { "holds" } else { "DOES NOT HOLD" };
        let bound = match self.bound {
            Bound::None => String::new(),
            Bound::AtMost(bound) => format!("<= {bound} {verdict}"),
            Bound::AtLeast(bound) => format!(">= {bound} {verdict}"),
        };
        format!("  {:<44}{:>12} {:<8} {bound}", self.key, rounded(self.value).to_string(), self.unit)
            .trim_end()
            .to_owned()
    }

    fn json(&self) -> Value {
        let mut json = json!({ "value": rounded(self.value), "unit": self.unit });
        match self.bound {
            Bound::None => {}
            Bound::AtMost(bound) => json["at_most"] = bound.into(),
            Bound::AtLeast(bound) => json["at_least"] = bound.into(),
        }
        if !matches!(self.bound, Bound::None) {
            json["holds"] = self.holds().into();
        }
        json
    }
}

/// Three decimals: the measures are not more precise than that.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// CPU, cores, memory, kernel and load. Other programs on the machine make every measure worse.
fn machine() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        text.lines()
            .find(|line| line.starts_with(name))
            .and_then(|line| line.split(':').nth(1))
            .map(|v| v.trim().to_owned())
    };
    let memory = field(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
    let kib: u64 = memory.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0);
    json!({
        "cpu": field(&read("/proc/cpuinfo"), "model name"),
        "cores": thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "memory_mib": kib / 1024,
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "load_before": read("/proc/loadavg").split(' ').next().and_then(|load| load.parse::<f64>().ok()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceeded_bound_fails_the_report_and_is_named() {
        let mut report = Report::new("test");
        report.at_most("small", 1.0, "MiB", 1.0);
        report.at_least("large", 99.9, "%", 99.9);
        assert!(report.holds());
        report.at_most("duplicates", 1.0, "", 0.0);
        assert!(!report.holds());
        let json = report.json();
        assert_eq!(
            (&json["holds"], &json["measures"]["duplicates"]["holds"]),
            (&Value::Bool(false), &Value::Bool(false))
        );
        assert!(report.measures[2].line().contains("DOES NOT HOLD"));
    }
}
