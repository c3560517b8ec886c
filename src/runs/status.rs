//! Reads the status of a run: conditions, times and results, and nothing else of the object. Pure.
//!
//! Other software writes the status, in releases that the operator may not know. A member of an unexpected type counts
//! as absent: it must affect neither the run's other members nor other runs.

use std::{borrow::Cow, fmt, marker::PhantomData};

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::value::RawValue;

use crate::{
    api::{Outcome, Output},
    core::run::backend::{Ending, Observed, Phase},
};

const MAX_REASON: usize = 256;
const MAX_MESSAGE: usize = 1024;
const MAX_OUTPUTS: usize = 8;
const MAX_OUTPUT_NAME: usize = 128;
const MAX_OUTPUT_VALUE: usize = 256;

/// `text`, cut at a character's boundary to at most `max` bytes.
pub(super) fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// The members of a run's status that the operator reads.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status<'a> {
    #[serde(borrow, default)]
    conditions: Lenient<Vec<Lenient<Members<RunCondition<'a>>>>>,
    #[serde(default)]
    start_time: Lenient<Timestamp>,
    #[serde(default)]
    completion_time: Lenient<Timestamp>,
    #[serde(borrow, default)]
    results: Lenient<Vec<Lenient<Members<RunResult<'a>>>>>,
    /// How many pods of a Job are ready.
    #[serde(default)]
    ready: Lenient<i64>,
    /// Whether the spec says that the run waits.
    #[serde(skip)]
    waits: bool,
}

/// The members of a run's spec that make it wait: `suspend` of a Job, `status` of a PipelineRun.
#[derive(Default, Deserialize)]
struct WaitingSpec<'a> {
    #[serde(default)]
    suspend: Lenient<bool>,
    #[serde(borrow, default)]
    status: Lenient<Text<'a>>,
}

/// One result of a run.
#[derive(Deserialize)]
struct RunResult<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    value: &'a RawValue,
}

impl RunResult<'_> {
    /// The value, if it is a string.
    fn text(&self) -> Option<Text<'_>> {
        serde_json::from_str(self.value.get()).ok()
    }
}

/// One condition of a status.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RunCondition<'a> {
    #[serde(borrow)]
    r#type: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow, default)]
    reason: Lenient<Text<'a>>,
    #[serde(borrow, default)]
    message: Lenient<Text<'a>>,
    #[serde(default)]
    last_transition_time: Lenient<Timestamp>,
}

impl<'a> Status<'a> {
    /// Reads the status of an object from its text. Fails only if the text is not a JSON object.
    pub(super) fn read(object: &'a str) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Object<'a> {
            #[serde(borrow, default)]
            status: Lenient<Members<Status<'a>>>,
            #[serde(borrow, default)]
            spec: Lenient<Members<WaitingSpec<'a>>>,
        }
        let Members(object) = serde_json::from_str::<Members<Object<'a>>>(object)?;
        let status = object.status.0.map(|Members(status)| status).unwrap_or_default();
        let spec = object.spec.0.map(|Members(spec)| spec).unwrap_or_default();
        let waits = spec.suspend.0 == Some(true) || spec.status.0.is_some_and(|Text(status)| !status.is_empty());
        Ok(Self { waits, ..status })
    }

    /// Ended, by the first condition for which `says` returns an outcome; otherwise active.
    pub(super) fn first(&self, says: impl Fn(&RunCondition<'_>) -> Option<Outcome>) -> Observed {
        let mut conditions = self
            .conditions
            .0
            .iter()
            .flatten()
            .filter_map(|condition| condition.0.as_ref().map(|Members(condition)| condition));
        let ended = conditions.find_map(|condition| Some((says(condition)?, condition)));
        let phase = ended.map_or(Phase::Active, |(outcome, condition)| Phase::Ended(self.ending(outcome, condition)));
        let idle = phase == Phase::Active && !self.waits && self.ready.0.unwrap_or_default() <= 0;
        Observed { phase, started_at: self.start_time.0, idle }
    }

    /// A failed Job has no `completionTime`; the transition time of the condition is then the end.
    fn ending(&self, outcome: Outcome, condition: &RunCondition<'_>) -> Ending {
        Ending {
            outcome,
            reason: cut(condition.reason(), MAX_REASON).to_owned(),
            message: cut(condition.message(), MAX_MESSAGE).to_owned(),
            finished_at: self.completion_time.0.or(condition.last_transition_time.0),
            outputs: self.outputs(),
        }
    }

    /// The results that are strings. Lists and objects are left out.
    fn outputs(&self) -> Vec<Output> {
        let output = |given: &RunResult<'_>| {
            Some(Output {
                name: cut(&given.name.0, MAX_OUTPUT_NAME).to_owned(),
                value: cut(&given.text()?.0, MAX_OUTPUT_VALUE).to_owned(),
            })
        };
        self.given().filter_map(output).take(MAX_OUTPUTS).collect()
    }

    /// Names and texts of the results. A list or an object becomes its JSON text.
    pub(super) fn results(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        self.given().map(|given| {
            let text = given.text().map_or(Cow::Borrowed(given.value.get()), |Text(text)| text);
            (Cow::Borrowed(&*given.name.0), text)
        })
    }

    fn given(&self) -> impl Iterator<Item = &RunResult<'_>> {
        self.results.0.iter().flatten().filter_map(|given| given.0.as_ref().map(|Members(given)| given))
    }
}

impl RunCondition<'_> {
    /// Type and status.
    pub(super) fn is(&self) -> (&str, &str) {
        (&self.r#type.0, &self.status.0)
    }

    /// The reason; empty when there is none.
    pub(super) fn reason(&self) -> &str {
        self.reason.0.as_ref().map_or("", |text| &text.0)
    }

    fn message(&self) -> &str {
        self.message.0.as_ref().map_or("", |text| &text.0)
    }
}

/// A text that is borrowed unless it has escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A value, or nothing if the member has another type.
struct Lenient<T>(Option<T>);

impl<T> Default for Lenient<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?;
        Ok(Self(serde_json::from_str(raw.get()).ok()))
    }
}

/// A struct that is written as an object. Derived code alone would also accept a list of its members.
struct Members<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Members<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfMap<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OfMap<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(OfMap(PhantomData)).map(Self)
    }
}
