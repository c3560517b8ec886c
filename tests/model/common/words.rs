//! The model in words, for the paths to a violated property.

use std::fmt;

use super::{Action, Incarnation, Name, Reply, Request, Run, Stage, Types};

impl<K: Types> fmt::Display for Action<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SeeObject(replica) => write!(f, "replica {replica} sees the object as it is"),
            Self::SeeRuns(replica) => write!(f, "replica {replica} sees the runs as they are"),
            Self::Reconcile(place) => write!(f, "replica {} reconciles {}", place.replica, object_words(place.object)),
            Self::Poll(place) => write!(f, "replica {} polls for {}", place.replica, object_words(place.object)),
            Self::TakeResponse(place) => {
                write!(f, "replica {} gets the response for {}", place.replica, object_words(place.object))
            }
            Self::Arrive(flight) if matches!(flight.stage, Stage::Admitted(_)) => write!(f, "{flight}: stored"),
            Self::Arrive(flight) => write!(f, "{flight}: at the server"),
            Self::Reply(flight) => match flight.stage {
                Stage::Replied(reply) => write!(f, "{flight}: the reply {reply} arrives"),
                Stage::Sent | Stage::Admitted(_) => write!(f, "{flight}: no reply"),
            },
            Self::GiveUp(flight) => write!(f, "{flight}: the sender gives up waiting"),
            Self::Duplicate(flight) => write!(f, "{flight}: delivered a second time"),
            Self::Refuse(flight, why) => write!(f, "{flight}: refused ({why:?})"),
            Self::Tick => write!(f, "30 seconds pass"),
            Self::EndRun(run, phase) => write!(f, "{run} ends: {phase:?}"),
            Self::Crash(replica) => write!(f, "replica {replica} dies and starts again"),
            Self::NewTerm(replica) => write!(f, "replica {replica} begins another term of leadership"),
            Self::HearSlowServer(replica) => write!(f, "replica {replica} gets the time of a slow clock"),
            Self::Silence(replica) => write!(f, "replica {replica}'s watch of runs falls silent"),
            Self::DeleteRun(run) => write!(f, "a user deletes {run}"),
            Self::CollectGarbage(run) => write!(f, "the garbage collector deletes {run}"),
            Self::Edit(spec) => write!(f, "a user edits the spec (to #{spec})"),
            Self::Trigger => write!(f, "a user sets the trigger"),
            Self::Cancel(name) => write!(f, "a user names run {name} in the cancel annotation"),
            Self::DeleteObject => write!(f, "a user deletes the object"),
            Self::ObjectGone => write!(f, "the object is gone"),
            Self::Recreate => write!(f, "a user creates an object of the same name"),
            Self::RemoveForeign => write!(f, "another owner's object is removed"),
            Self::Own(action) => action.fmt(f),
        }
    }
}

pub fn object_words(incarnation: Incarnation) -> &'static str {
    if incarnation == 0 { "the object" } else { "the later object" }
}

/// The attempt, and the slot where it is not the first.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.attempt)?;
        if self.slot > 0 {
            write!(f, ".{}", self.slot)?;
        }
        if self.owner > 0 { write!(f, " of the later object") } else { Ok(()) }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {}", self.name)?;
        if self.copy > 0 { write!(f, " (created again: copy {})", self.copy + 1) } else { Ok(()) }
    }
}

impl<K: Types> fmt::Display for Request<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Patch { evidence: Some(_), .. } => write!(f, "the reserve"),
            Self::Patch { .. } => write!(f, "the status write"),
            Self::Post { run, not_after, .. } => write!(f, "the POST of {run} (not after tick {not_after})"),
            Self::Get { name, .. } => write!(f, "the GET of run {name}"),
            Self::Delete { run } => write!(f, "the DELETE of {run}"),
            Self::Stop { run, cause, .. } => write!(f, "the stop of {run} ({cause:?})"),
            Self::Own(request) => request.fmt(f),
        }
    }
}

impl<K: Types> fmt::Display for Reply<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stored(_) => write!(f, "\"stored\""),
            Self::Conflict => write!(f, "\"conflict\""),
            Self::Ours(run) => write!(f, "with {run}, {:?},", run.phase),
            Self::Refused(why) => write!(f, "\"refused: {why:?}\""),
            Self::Absent => write!(f, "\"404\""),
            Self::Foreign => write!(f, "\"another owner's\""),
            Self::Deleted => write!(f, "\"deleted\""),
            Self::Unknown => write!(f, "\"no certain outcome\""),
            Self::Own(reply) => reply.fmt(f),
        }
    }
}
