//! The results of a training run: metrics, a model, other outputs, and the input values that it really read. Pure.
//!
//! A PipelineRun has results, which are named texts; a Job's container writes a JSON object as its termination message.
//! Both are read into [`Results`], within bounds. Anything beyond the bounds is left out and reported, never guessed: a
//! metric that cannot be recorded verbatim has no value, and a model whose URI is too long has no URI.

mod message;
mod number;
mod pods;
pub mod values;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use self::number::ParsedNumber;
use crate::api::{Artifact, RecordedMetric, RecordedOutput};

pub use self::pods::{PodSearch, RunPods};

/// Maximum number of metrics of a run.
pub const MAX_METRICS: usize = 64;
/// Longest text of a number, in bytes.
pub const MAX_NUMBER: usize = 64;
/// Maximum number of outputs of a run.
pub const MAX_OUTPUTS: usize = 32;
/// Longest value of an output and of an `input.<name>`, in bytes. Longer ones are cut.
pub const MAX_OUTPUT: usize = 1024;
/// Longest name of a metric or an output, in bytes.
pub const MAX_NAME: usize = 128;
/// Longest name after `input.`, in bytes: no input has a longer name.
const MAX_INPUT_NAME: usize = 63;
/// Longest URI of a model, in bytes.
pub const MAX_URI: usize = 1024;
/// Longest digest of a model, in bytes.
pub const MAX_DIGEST: usize = 256;
/// Longest text of [`Results::problem`], in bytes.
pub const MAX_PROBLEM: usize = 512;

/// `spec.metrics.container`, the field that names the container with the results.
pub const CONTAINER_FIELD: &str = "spec.metrics.container";

/// `source` of the metrics that come from results.
const SOURCE: &str = "Results";
/// Names of the results of a PipelineRun that describe the model.
const MODEL_URI: &str = "model-uri";
const MODEL_DIGEST: &str = "model-digest";
/// Prefix of the names of results that report which input values a run has read.
const INPUT: &str = "input.";

/// The results of a run, within bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Results {
    /// At most 64, in the order of the report, with unique names. A metric without a value was reported, but its value
    /// is not a finite number or is too long.
    pub metrics: Vec<RecordedMetric>,
    /// The model, if the run names one.
    pub artifact: Option<Artifact>,
    /// At most 32, in the order of the report, with unique names. Values have no trailing line breaks.
    pub outputs: Vec<RecordedOutput>,
    /// Outputs named `input.<name>`, by that name: the values that the run says it has really read, without trailing
    /// line breaks. A value of more than 1 KiB is cut, and so equals no value of a source.
    pub read_inputs: BTreeMap<String, String>,
    /// What could not be read, as a message for users: at most 512 bytes on one line, empty if everything was read.
    pub problem: String,
}

impl Results {
    /// No results, for this reason.
    pub fn unreadable(problem: impl AsRef<str>) -> Self {
        let mut reader = Reader::default();
        reader.report(problem);
        reader.finish()
    }

    /// Reads named texts, as a PipelineRun has them: `model-uri` and `model-digest` are the model, `input.<name>` is an
    /// input value that was read, a text that is a number is a metric, every other text is an output.
    ///
    /// A name that occurs twice makes the report ambiguous: then nothing is taken from it.
    pub fn of_texts<'a>(texts: impl IntoIterator<Item = (Cow<'a, str>, Cow<'a, str>)>) -> Self {
        let texts: Vec<_> = texts.into_iter().collect();
        let mut names = BTreeSet::new();
        if let Some((twice, _)) = texts.iter().find(|(name, _)| !names.insert(name)) {
            return Self::unreadable(format!("the result {} occurs twice: no result is read", shown(twice)));
        }
        let mut reader = Reader::default();
        for (name, text) in &texts {
            match (&**name, number::read(text)) {
                (MODEL_URI, _) => reader.artifact(Some(text), None),
                (MODEL_DIGEST, _) => reader.artifact(None, Some(text)),
                (name, _) if name.starts_with(INPUT) => reader.output(name, text),
                (name, ParsedNumber::Not) => reader.output(name, text),
                (name, reading) => reader.metric(name, reading),
            }
        }
        reader.finish()
    }
}

/// Collects the entries of a report, within the bounds.
#[derive(Default)]
struct Reader {
    results: Results,
    metrics_left_out: usize,
    outputs_left_out: usize,
}

impl Reader {
    fn metric(&mut self, name: &str, reading: ParsedNumber<'_>) {
        if !self.is_fit(name, "a metric", MAX_NAME) {
            return;
        }
        if self.results.metrics.len() == MAX_METRICS {
            self.metrics_left_out += 1;
            return;
        }
        let value = match reading {
            ParsedNumber::Number(text) if text.len() <= MAX_NUMBER => Some(text.to_owned()),
            ParsedNumber::Number(text) => {
                self.report(format!(
                    "the metric {} has no value: it takes {} bytes, at most {MAX_NUMBER} are kept",
                    shown(name),
                    text.len()
                ));
                None
            }
            ParsedNumber::NotFinite(text) => {
                self.report(format!("the metric {} has no value: {} is not finite", shown(name), shown(text)));
                None
            }
            ParsedNumber::Not => {
                self.report(format!("the metric {} has no value: it is not a number", shown(name)));
                None
            }
        };
        self.results.metrics.push(RecordedMetric { name: name.to_owned(), value, source: SOURCE.to_owned() });
    }

    /// Adds an output, or an input value that the run says it has read.
    fn output(&mut self, name: &str, text: &str) {
        let value = line(text);
        let cut = line(&value[..value.floor_char_boundary(MAX_OUTPUT)]);
        if let Some(input) = name.strip_prefix(INPUT) {
            if self.is_fit(input, "an input", MAX_INPUT_NAME) {
                self.results.read_inputs.insert(input.to_owned(), cut.to_owned());
            }
            return;
        }
        if !self.is_fit(name, "an output", MAX_NAME) {
            return;
        }
        if self.results.outputs.len() == MAX_OUTPUTS {
            self.outputs_left_out += 1;
            return;
        }
        if value.len() > MAX_OUTPUT {
            self.report(format!("the output {} is cut: it takes {} bytes", shown(name), value.len()));
        }
        self.results.outputs.push(RecordedOutput { name: name.to_owned(), value: cut.to_owned() });
    }

    /// Adds the model. A URI or digest that is too long is left out: a part of it would be a different one.
    fn artifact(&mut self, uri: Option<&str>, digest: Option<&str>) {
        for (given, what, max) in [(uri, "URI", MAX_URI), (digest, "digest", MAX_DIGEST)] {
            let Some(text) = given.map(str::trim).filter(|text| !text.is_empty()) else { continue };
            if text.len() > max {
                self.report(format!(
                    "the model's {what} is left out: it takes {} bytes, at most {max} are kept",
                    text.len()
                ));
                continue;
            }
            let artifact = self.results.artifact.get_or_insert_default();
            let member = if what == "URI" { &mut artifact.uri } else { &mut artifact.digest };
            text.clone_into(member);
        }
    }

    /// Whether this name can be kept. A name is never cut: a part of it would be a different name.
    fn is_fit(&mut self, name: &str, what: &str, max: usize) -> bool {
        match name.len() {
            0 => self.report(format!("{what} without a name is left out")),
            length if length > max => {
                self.report(format!("{what}, {}, is left out: its name takes more than {max} bytes", shown(name)));
            }
            _ => return true,
        }
        false
    }

    /// Adds to the problem.
    fn report(&mut self, problem: impl AsRef<str>) {
        let said = &mut self.results.problem;
        // `finish` cuts everything after this many bytes anyway.
        if said.len() > MAX_PROBLEM {
            return;
        }
        if !said.is_empty() {
            said.push_str("; ");
        }
        said.push_str(problem.as_ref());
    }

    fn finish(mut self) -> Results {
        for (count, what, max) in
            [(self.metrics_left_out, "metrics", MAX_METRICS), (self.outputs_left_out, "outputs", MAX_OUTPUTS)]
        {
            if count > 0 {
                self.report(format!("there are {} {what}: the first {max} are kept", max + count));
            }
        }
        let problem = &mut self.results.problem;
        if problem.len() > MAX_PROBLEM {
            problem.truncate(problem.floor_char_boundary(MAX_PROBLEM - "…".len()));
            problem.push('…');
        }
        self.results
    }
}

/// `text` without trailing line breaks.
fn line(text: &str) -> &str {
    text.trim_end_matches(['\n', '\r'])
}

/// The first 64 bytes of a foreign text, quoted and escaped for a message.
fn shown(text: &str) -> String {
    let cut = &text[..text.floor_char_boundary(64)];
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("{cut:?}{more}")
}

#[cfg(test)]
mod tests;
