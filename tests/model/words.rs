//! The model in words, for the ways to a broken property.

use std::fmt;

use super::{
    object::Incarnation,
    steps::Action,
    world::{LAST_ATTEMPT, Reply, Request, Run},
};

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |incarnation: &Incarnation| if *incarnation == 0 { "the object" } else { "the later object" };
        match self {
            Self::SeeObject(replica) => write!(f, "replica {replica} sees the object as it is"),
            Self::SeeRuns(replica) => write!(f, "replica {replica} sees the runs as they are"),
            Self::Reconcile(replica, incarnation) => {
                write!(f, "replica {replica} makes a pass over {}", of(incarnation))
            }
            Self::PollClient(replica, incarnation) => write!(f, "replica {replica} asks for {}", of(incarnation)),
            Self::PollResponse(replica, incarnation) => {
                write!(f, "replica {replica} gets the answer for {}", of(incarnation))
            }
            Self::OnPollResult(flight) => write!(f, "{flight}: {}", flight.arrival()),
            Self::Reply(flight) => write!(f, "{flight}: {}", flight.stage),
            Self::GiveUp(flight) => write!(f, "{flight}: the sender gives up waiting"),
            Self::Duplicate(flight) => write!(f, "{flight}: sent a second time on the way"),
            Self::Refuse(flight, why) => write!(f, "{flight}: refused ({why:?})"),
            Self::Tick => write!(f, "30 seconds pass"),
            Self::EndRun(run, phase) => write!(f, "{run} ends: {phase:?}"),
            Self::Crash(replica) => write!(f, "replica {replica} dies and starts again"),
            Self::CrashIntoThePast(replica) => {
                write!(f, "replica {replica} dies, starts again and is shown an older state")
            }
            Self::KeepOldState => write!(f, "a server of the control plane begins to lag"),
            Self::NewTerm(replica) => write!(f, "replica {replica} begins another term of leadership"),
            Self::HearSlowServer(replica) => write!(f, "replica {replica} hears a server whose clock is slow"),
            Self::Silence(replica) => write!(f, "replica {replica}'s watch of runs falls silent"),
            Self::DeleteRun(run) => write!(f, "a user deletes {run}"),
            Self::CollectGarbage(run) => write!(f, "the garbage collector deletes {run}"),
            Self::Edit(spec) => write!(f, "a user edits the spec (to #{spec})"),
            Self::Trigger => write!(f, "a user sets the trigger"),
            Self::TriggerOverriding => write!(f, "a user sets the trigger, and lets it override the windows"),
            Self::Annotate(attempt) => write!(f, "a user names run {attempt} in the cancel annotation"),
            Self::FlipDesired => write!(f, "what is desired goes, or is there again"),
            Self::SeeSource(replica, incarnation) => {
                write!(f, "replica {replica} sees a source of {} change", of(incarnation))
            }
            Self::FlipAnswer => write!(f, "the endpoint changes its mind"),
            Self::FlipEndpoint => write!(f, "the endpoint breaks or mends"),
            Self::DeleteObject => write!(f, "a user deletes the object"),
            Self::ObjectGone => write!(f, "the object is gone"),
            Self::Recreate => write!(f, "a user creates an object of the same name"),
            Self::RemoveForeign => write!(f, "somebody removes the foreign object"),
            Self::RemoveForged(run) => write!(f, "somebody removes {run}"),
            Self::EndEarlier => write!(f, "the earlier operator's run ends"),
            Self::InstallKind => write!(f, "the run's kind is installed"),
        }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {}", self.attempt)?;
        if self.owner > 0 {
            write!(f, " of the later object")?;
        }
        if self.attempt == LAST_ATTEMPT {
            write!(f, " (a forged number)")?;
        } else if self.name > 0 {
            write!(f, " (name #{})", self.name)?;
        }
        if self.copy > 0 {
            write!(f, " (created again: copy {})", self.copy + 1)?;
        }
        Ok(())
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Patch { evidence: Some(_), .. } => write!(f, "the reserve"),
            Self::Patch { .. } => write!(f, "the status write"),
            Self::Post { run, not_after, .. } => write!(f, "the POST of {run} (not after tick {not_after})"),
            Self::Get { attempt, .. } => write!(f, "the GET of run {attempt}"),
            Self::Delete { run } => write!(f, "the DELETE of {run}"),
            Self::Stop { run, cause, .. } => write!(f, "the stop of {run} ({cause:?})"),
            Self::Find => write!(f, "the search for an earlier operator's run"),
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stored(_) => write!(f, "\"stored\""),
            Self::Conflict => write!(f, "\"conflict\""),
            Self::Ours(run) => write!(f, "with {run}, {:?},", run.phase),
            Self::Refused(why) => write!(f, "\"refused: {why:?}\""),
            Self::Absent => write!(f, "\"404\""),
            Self::Foreign => write!(f, "\"somebody else's\""),
            Self::Deleted => write!(f, "\"deleted\""),
            Self::Earlier(true) => write!(f, "\"there is one\""),
            Self::Earlier(false) => write!(f, "\"there is none\""),
            Self::Unknown => write!(f, "\"no certain outcome\""),
        }
    }
}
