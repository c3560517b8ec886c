//! What a training run reports: metrics, a model, other outputs, and what it really read. Pure.
//!
//! A PipelineRun has results, which are named texts; a Job's container leaves a JSON object as its termination message.
//! Both come out as [`Results`], within bounds. What is beyond them is left out and said, never guessed: a metric that
//! cannot be recorded verbatim has no value, and a model whose address does not fit has no address.

mod message;
mod number;
mod pods;
pub mod values;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use self::number::Reading;
use crate::api::{Artifact, RecordedMetric, RecordedOutput};

pub use self::pods::{PodSearch, RunPods};

/// Most metrics of a run.
pub const MAX_METRICS: usize = 64;
/// Longest text of a number, in bytes.
pub const MAX_NUMBER: usize = 64;
/// Most outputs of a run.
pub const MAX_OUTPUTS: usize = 32;
/// Longest value of an output and of an `input.<name>`, in bytes. Longer ones are cut.
pub const MAX_OUTPUT: usize = 1024;
/// Longest name of a metric or an output, in bytes.
pub const MAX_NAME: usize = 128;
/// Longest name after `input.`, in bytes: no input has a longer one.
const MAX_INPUT_NAME: usize = 63;
/// Longest address of a model, in bytes.
pub const MAX_URI: usize = 1024;
/// Longest digest of a model, in bytes.
pub const MAX_DIGEST: usize = 256;
/// Longest text of what could not be read, in bytes.
pub const MAX_PROBLEM: usize = 512;

/// `spec.metrics.container`, the field that names the container with the results.
pub const CONTAINER_FIELD: &str = "spec.metrics.container";

/// Where metrics of results say they come from.
const SOURCE: &str = "Results";
/// Results of a PipelineRun that are the model.
const MODEL_URI: &str = "model-uri";
const MODEL_DIGEST: &str = "model-digest";
/// Beginning of the names that say what a run has read.
const INPUT: &str = "input.";

/// What a run reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Results {
    /// At most 64, in the order of the report, each name once. One without value was reported and is no finite number.
    pub metrics: Vec<RecordedMetric>,
    /// The model, if the run names one.
    pub artifact: Option<Artifact>,
    /// At most 32, in the order of the report, each name once. Values have no line breaks at their end.
    pub outputs: Vec<RecordedOutput>,
    /// Outputs named `input.<name>`, by that name: the values that the run says it has really read, without line breaks at
    /// their end. One of more than 1 KiB is cut, and so equals no value of a source.
    pub read_inputs: BTreeMap<String, String>,
    /// What could not be read, in words for users, at most 512 bytes on one line; empty when all could.
    pub problem: String,
}

impl Results {
    /// No results, for this reason.
    pub fn unreadable(problem: impl AsRef<str>) -> Self {
        let mut reader = Reader::default();
        reader.say(problem);
        reader.finish()
    }

    /// Reads named texts, as a PipelineRun has them: `model-uri` and `model-digest` are the model, `input.<name>` is what
    /// was read, a text that is a number is a metric, every other one is an output.
    ///
    /// A name that occurs twice gives the report two readings: then nothing of it is taken.
    pub fn of_texts<'a>(texts: impl IntoIterator<Item = (Cow<'a, str>, Cow<'a, str>)>) -> Self {
        let texts: Vec<_> = texts.into_iter().collect();
        let mut names = BTreeSet::new();
        if let Some((twice, _)) = texts.iter().find(|(name, _)| !names.insert(name)) {
            return Self::unreadable(format!("the result {} is there twice: none is read", shown(twice)));
        }
        let mut reader = Reader::default();
        for (name, text) in &texts {
            match (&**name, number::read(text)) {
                (MODEL_URI, _) => reader.artifact(Some(text), None),
                (MODEL_DIGEST, _) => reader.artifact(None, Some(text)),
                (name, _) if name.starts_with(INPUT) => reader.output(name, text),
                (name, Reading::Not) => reader.output(name, text),
                (name, reading) => reader.metric(name, reading),
            }
        }
        reader.finish()
    }

    /// Reads a Job's termination message of which the kubelet keeps less than `limit` bytes whole:
    /// `{"metrics": {…}, "artifact": {"uri": …, "digest": …}, "outputs": {…}}`.
    ///
    /// Every member may be missing; values are numbers or strings and are kept as they are written. An empty message is a
    /// report of nothing. Of a message that is no JSON object, has a name twice, or was cut, nothing is taken.
    pub fn of_message(message: &str, limit: usize) -> Self {
        message::read(message, limit)
    }
}

/// Takes a report in, entry by entry, within the bounds.
#[derive(Default)]
struct Reader {
    results: Results,
    metrics_left_out: usize,
    outputs_left_out: usize,
}

impl Reader {
    fn metric(&mut self, name: &str, reading: Reading<'_>) {
        if !self.is_fit(name, "a metric", MAX_NAME) {
            return;
        }
        if self.results.metrics.len() == MAX_METRICS {
            self.metrics_left_out += 1;
            return;
        }
        let value = match reading {
            Reading::Number(text) if text.len() <= MAX_NUMBER => Some(text.to_owned()),
            Reading::Number(text) => {
                self.say(format!(
                    "the metric {} has no value: it takes {} bytes, at most {MAX_NUMBER} are kept",
                    shown(name),
                    text.len()
                ));
                None
            }
            Reading::NotFinite(text) => {
                self.say(format!("the metric {} has no value: {} is not finite", shown(name), shown(text)));
                None
            }
            Reading::Not => {
                self.say(format!("the metric {} has no value: it is not a number", shown(name)));
                None
            }
        };
        self.results.metrics.push(RecordedMetric { name: name.to_owned(), value, source: SOURCE.to_owned() });
    }

    /// An output, or what the run says it has read.
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
            self.say(format!("the output {} is cut: it takes {} bytes", shown(name), value.len()));
        }
        self.results.outputs.push(RecordedOutput { name: name.to_owned(), value: cut.to_owned() });
    }

    /// Part of an address or of a digest is another one: what is too long is left out.
    fn artifact(&mut self, uri: Option<&str>, digest: Option<&str>) {
        for (given, what, max) in [(uri, "URI", MAX_URI), (digest, "digest", MAX_DIGEST)] {
            let Some(text) = given.map(str::trim).filter(|text| !text.is_empty()) else { continue };
            if text.len() > max {
                self.say(format!(
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

    /// Whether this is a name that can be kept. Part of a name is another name, so none is cut.
    fn is_fit(&mut self, name: &str, what: &str, max: usize) -> bool {
        match name.len() {
            0 => self.say(format!("{what} without a name is left out")),
            length if length > max => {
                self.say(format!("{what}, {}, is left out: its name takes more than {max} bytes", shown(name)));
            }
            _ => return true,
        }
        false
    }

    /// Adds to what could not be read.
    fn say(&mut self, problem: impl AsRef<str>) {
        let said = &mut self.results.problem;
        // Whatever comes after this many bytes is cut anyway.
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
                self.say(format!("there are {} {what}: the first {max} are kept", max + count));
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

/// `text` without line breaks at its end.
fn line(text: &str) -> &str {
    text.trim_end_matches(['\n', '\r'])
}

/// A foreign text in a message: quoted and escaped, the first 64 bytes of it.
fn shown(text: &str) -> String {
    let cut = &text[..text.floor_char_boundary(64)];
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("{cut:?}{more}")
}

#[cfg(test)]
mod tests;
