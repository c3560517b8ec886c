//! The model in words, for the ways to a broken property.

use std::fmt;

use super::{
    super::object::Incarnation,
    steps::Action,
    world::{Name, Reply, Request, Run},
};

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |incarnation: &Incarnation| if *incarnation == 0 { "the object" } else { "the later object" };
        match self {
            Self::SeeObject(replica) => write!(f, "replica {replica} sees the object as it is"),
            Self::SeeRuns(replica) => write!(f, "replica {replica} sees the runs as they are"),
            Self::SeeRecords(replica) => write!(f, "replica {replica} sees the records as they are"),
            Self::SeeOldRecords(replica) => write!(f, "replica {replica} is shown an older list of records"),
            Self::KeepOldRecords => write!(f, "a server of the control plane begins to lag"),
            Self::SeeSource(replica) => write!(f, "replica {replica} sees the input's source change"),
            Self::Reconcile(replica, incarnation) => {
                write!(f, "replica {replica} makes a pass over {}", of(incarnation))
            }
            Self::PollClient(replica, incarnation) => write!(f, "replica {replica} asks for {}", of(incarnation)),
            Self::OnPollResult(flight) => write!(f, "{flight}: {}", flight.arrival()),
            Self::Reply(flight) => write!(f, "{flight}: {}", flight.stage),
            Self::GiveUp(flight) => write!(f, "{flight}: the sender gives up waiting"),
            Self::Refuse(flight) => write!(f, "{flight}: refused"),
            Self::Tick => write!(f, "30 seconds pass"),
            Self::EndRun(run, phase) => write!(f, "{run} ends: {phase:?}"),
            Self::Crash(replica) => write!(f, "replica {replica} dies and starts again"),
            Self::DeleteRun(run) => write!(f, "a user deletes {run}"),
            Self::DeleteRecord(record) => write!(f, "a user deletes record {}", record.name),
            Self::Edit(spec) => write!(f, "a user edits the spec (to #{spec})"),
            Self::Trigger => write!(f, "a user sets the trigger"),
            Self::Hold(Some(name)) => write!(f, "a user holds {name}"),
            Self::Hold(None) => write!(f, "a user holds nothing any more"),
            Self::Approve(name) => write!(f, "a user approves {name}"),
            Self::Reject(name) => write!(f, "a user rejects {name}"),
            Self::Cancel(name) => write!(f, "a user names run {name} in the cancel annotation"),
            Self::SetInput(input) => write!(f, "the input becomes {input:?}"),
            Self::SetScore(score) => write!(f, "what is measured becomes {score:?}"),
            Self::DeleteObject => write!(f, "a user deletes the object"),
            Self::ObjectGone => write!(f, "the object is gone"),
            Self::Recreate => write!(f, "a user creates an object of the same name"),
            Self::RemoveForeign => write!(f, "somebody removes the foreign object"),
            Self::LoseStatus => write!(f, "somebody loses the object's status"),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.attempt, ["a", "b", "c"][usize::from(self.slot)])?;
        if self.owner > 0 { write!(f, " of the later object") } else { Ok(()) }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {}", self.name)?;
        if self.copy > 0 { write!(f, " (created again: copy {})", self.copy + 1) } else { Ok(()) }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Patch { .. } => write!(f, "the status write"),
            Self::Post { name, not_after, .. } => write!(f, "the POST of run {name} (not after tick {not_after})"),
            Self::Get { name, .. } => write!(f, "the GET of run {name}"),
            Self::Stop { run } => write!(f, "the stop of {run}"),
            Self::DeleteRun { run } => write!(f, "the DELETE of {run}"),
            Self::Record { name, .. } => write!(f, "the POST of record {name}"),
            Self::GetRecord { name } => write!(f, "the GET of record {name}"),
            Self::Tell { record, .. } => write!(f, "the status write of record {}", record.name),
            Self::DeleteRecord { record } => write!(f, "the DELETE of record {}", record.name),
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stored(_) => write!(f, "\"stored\""),
            Self::Conflict => write!(f, "\"conflict\""),
            Self::Ours(run) => write!(f, "with {run}, {:?},", run.phase),
            Self::Stands(record) => write!(f, "with record {}", record.name),
            Self::Refused(why) => write!(f, "\"refused: {why:?}\""),
            Self::Absent => write!(f, "\"404\""),
            Self::Foreign => write!(f, "\"somebody else's\""),
            Self::Deleted => write!(f, "\"deleted\""),
            Self::Unknown => write!(f, "\"no certain outcome\""),
        }
    }
}
