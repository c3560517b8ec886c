//! Which members of an object are kept, and how large each may be. No IO.

use std::fmt;

use serde::Deserialize;

use crate::api::keys;

/// Largest spec that the operator keeps: the largest template, and half as much for the rest. The condition of an object
/// says that its spec is larger.
pub const MAX_SPEC: usize = 384 * 1024;
/// Largest status that the operator keeps.
const MAX_STATUS: usize = 256 * 1024;
/// Largest labels, and largest owner references.
const MAX_METADATA: usize = 64 * 1024;
/// Largest label or annotation. The API server allows 256 KiB for all annotations, and labels without number.
const MAX_ANNOTATION: usize = 16 * 1024;
/// Longest name, uid, version or time.
const MAX_WORD: usize = 1024;
/// Longest message of the API server.
const MAX_MESSAGE: usize = 32 * 1024;

/// The member that stands in place of what was too large. No API has such a name.
const TOO_LARGE: &str = "automl.cloudai.kubeflow.org/too-large";

/// What is kept of an object.
#[derive(Clone, Debug)]
pub enum Shape {
    /// Metadata, spec and status: of one of the operator's own kinds.
    Object,
    /// Metadata, and what the operator reads of a run's status. The specs of runs are as large as users make them.
    Run,
    /// The same, and what it reads of the spec of a run that has ended.
    EndedRun,
    /// Names and version.
    Names,
    /// Everything, up to this many bytes.
    Whole(usize),
    /// Names and version, and the members to which these paths lead, each up to this many bytes.
    Parts(Vec<Vec<String>>, usize),
}

/// Where the objects are in a text.
#[derive(Clone, Copy, Debug)]
pub enum Wrapping {
    /// The text is the object.
    None,
    /// In a list.
    List,
    /// In an event of a watch.
    Event,
}

/// What happens to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// It is dropped.
    Nothing,
    /// It is kept if it is no larger.
    UpTo(usize),
    /// It is an object, and its members are decided on one by one.
    Members,
    /// It is a list, and its elements are passed on one by one.
    Elements,
}

impl Wrapping {
    /// What happens to the value at this path of a text.
    pub fn keep(self, shape: &Shape, path: &[String]) -> Keep {
        let Some((first, rest)) = path.split_first() else {
            return if matches!(self, Self::None) { shape.keep(path) } else { Keep::Members };
        };
        match (self, first.as_str()) {
            (Self::None, _) => shape.keep(path),
            (Self::List, "metadata") => Keep::UpTo(MAX_METADATA),
            (Self::List, "items") => rest.split_first().map_or(Keep::Elements, |(_, rest)| shape.keep(rest)),
            (Self::Event, "type") => Keep::UpTo(MAX_WORD),
            (Self::Event, "object") => shape.keep(rest),
            (Self::List | Self::Event, _) => Keep::Nothing,
        }
    }
}

impl Shape {
    /// The most bytes of one object that are kept.
    pub const fn most(&self) -> usize {
        match self {
            Self::Object => MAX_SPEC + MAX_STATUS + 6 * MAX_METADATA,
            Self::Run | Self::EndedRun => 3 * MAX_STATUS + 6 * MAX_METADATA,
            Self::Names => MAX_MESSAGE + MAX_METADATA,
            Self::Whole(most) => *most,
            Self::Parts(_, most) => 2 * *most,
        }
    }

    fn keep(&self, path: &[String]) -> Keep {
        match self {
            Self::Whole(most) => return Keep::UpTo(*most),
            Self::Parts(parts, most) => {
                if let Some(keep) = leads_to(parts, path, *most) {
                    return keep;
                }
            }
            Self::Object | Self::Run | Self::EndedRun | Self::Names => {}
        }
        let Some((first, rest)) = path.split_first() else { return Keep::Members };
        match (self, first.as_str()) {
            (_, "metadata") => self.metadata(rest),
            (Self::Object, "spec") => Keep::UpTo(MAX_SPEC),
            (Self::Run, "spec") => waiting_of_run(rest),
            (Self::EndedRun, "spec") => spec_of_run(rest),
            (Self::Run | Self::EndedRun, "status") => status_of_run(rest),
            (Self::Object, "status") => Keep::UpTo(MAX_STATUS),
            // An error that comes in place of an object has these.
            (_, "code" | "reason") => Keep::UpTo(MAX_WORD),
            (_, "message" | "details") => Keep::UpTo(MAX_MESSAGE),
            _ => Keep::Nothing,
        }
    }

    fn metadata(&self, path: &[String]) -> Keep {
        let Some((first, rest)) = path.split_first() else { return Keep::Members };
        match first.as_str() {
            "name" | "namespace" | "uid" | "resourceVersion" => Keep::UpTo(MAX_WORD),
            _ if matches!(self, Self::Names | Self::Parts(..)) => Keep::Nothing,
            "generation" | "creationTimestamp" | "deletionTimestamp" => Keep::UpTo(MAX_WORD),
            "ownerReferences" => Keep::UpTo(MAX_METADATA),
            "annotations" | "labels" => match rest {
                [] => Keep::Members,
                [key] if key.starts_with(keys::KEY_PREFIX) => Keep::UpTo(MAX_ANNOTATION),
                _ => Keep::Nothing,
            },
            _ => Keep::Nothing,
        }
    }
}

fn status_of_run(path: &[String]) -> Keep {
    match path.first().map(String::as_str) {
        None => Keep::Members,
        Some("startTime" | "completionTime" | "ready") => Keep::UpTo(MAX_WORD),
        Some("conditions" | "results") => Keep::UpTo(MAX_STATUS),
        Some(_) => Keep::Nothing,
    }
}

/// Whether a run waits on purpose: a Job that is suspended, a PipelineRun that is pending.
fn waiting_of_run(path: &[String]) -> Keep {
    match path {
        [] => Keep::Members,
        [member] if matches!(member.as_str(), "suspend" | "status") => Keep::UpTo(MAX_WORD),
        _ => Keep::Nothing,
    }
}

/// How the pods of a Job are completed, and its containers, whose names say which of them has the results.
fn spec_of_run(path: &[String]) -> Keep {
    let path: Vec<_> = path.iter().map(String::as_str).collect();
    match path[..] {
        [] | ["template"] | ["template", "spec"] => Keep::Members,
        ["completionMode"] => Keep::UpTo(MAX_WORD),
        ["template", "spec", "containers"] => Keep::UpTo(MAX_SPEC),
        _ => Keep::Nothing,
    }
}

/// What happens to a value on the way to one of the parts, or in it; `None` if it is on no such way.
fn leads_to(parts: &[Vec<String>], path: &[String], most: usize) -> Option<Keep> {
    if parts.iter().any(|part| part.as_slice() == path) {
        return Some(Keep::UpTo(most));
    }
    parts.iter().any(|part| part.starts_with(path)).then_some(Keep::Members)
}

/// The text in place of a value of so many bytes, where at most so many are kept.
pub(super) fn too_large(bytes: usize, most: usize) -> String {
    format!(r#"{{"{TOO_LARGE}":[{bytes},{most}]}}"#)
}

/// The size of a value that was too large to be kept, and the most bytes that would have been kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge {
    /// Its size in bytes of JSON.
    pub bytes: usize,
    /// The most bytes that are kept.
    pub most: usize,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "takes {} bytes of JSON, and the operator keeps at most {}", self.bytes, self.most)
    }
}

impl TooLarge {
    /// Reads what stands in place of a value that was too large; `None` for any other text.
    pub fn read(text: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct SizeNote {
            #[serde(rename = "automl.cloudai.kubeflow.org/too-large")]
            sizes: [usize; 2],
        }
        text.strip_prefix("{\"")?.strip_prefix(TOO_LARGE)?;
        let SizeNote { sizes: [bytes, most] } = serde_json::from_str(text).ok()?;
        Some(Self { bytes, most })
    }
}
