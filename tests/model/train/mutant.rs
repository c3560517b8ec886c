//! The mutants. Each alters the facts that `decide` gets, its plan, or how its requests are sent.

use modelsync::{
    api::{BudgetStatus, ModelTrainStatus, ModelVersionSpec, SlotState},
    core::{
        run::{claim::PostState, knowledge::ObjectInfo},
        time::Now,
        train::{Effect, Memory, Plan, Rule},
    },
};

use super::facts::Version;
use crate::common::mutants;

mutants! {
    AcceptsWithoutRecord,
    RecordAfterAcceptance,
    ClosesWithoutEverySlot,
    ClaimsBeyondParallelism,
    NotesBudgetAfterCreate,
    SameAtOnceAfter404,
    ReserveWithoutVersion,
    CloseWithoutVersion,
    IgnoresHoldAtClose,
    AnswersNoReason,
    NumberFromRunsAlone,
    JudgesAnewAfterCrash,
    DecidesWithoutLookUp,
    HoldsWhatIsRemoved,
    ForgetsRefusalAtRestart,
}

/// The facts that `decide` gets, as far as mutants change them.
pub struct Altered {
    pub status: ModelTrainStatus,
    pub nonce: String,
    pub process: String,
    pub memory: Memory,
    pub identity: ObjectInfo,
    /// Records of the object.
    pub versions: Vec<Version>,
    /// How many runs may be active at once, if not as many as the spec says.
    pub parallelism: Option<usize>,
}

impl Mutant {
    /// Alters the facts.
    pub fn alter(self, facts: &mut Altered, now: Now) {
        let versions = &mut facts.versions;
        match self {
            Self::ClosesWithoutEverySlot => {
                let Some(open) = &mut facts.status.reservation else { return };
                let recorded = |name: &str| versions.iter().any(|(_, spec)| spec.run.name == name);
                if open.slots.iter().any(|slot| recorded(&slot.run_name)) {
                    for slot in open.slots.iter_mut().filter(|slot| !recorded(&slot.run_name)) {
                        slot.state = SlotState::Skipped;
                    }
                }
            }
            Self::ClaimsBeyondParallelism => facts.parallelism = Some(16),
            Self::SameAtOnceAfter404 => {
                for slot in facts.status.reservation.iter_mut().flat_map(|open| &mut open.slots) {
                    let absent = facts.memory.lookups.get(&slot.run_name).is_some_and(|seen| seen.foreign.is_none());
                    let sent = facts.memory.post_of(&slot.run_name, &slot.nonce).is_some();
                    if absent && (sent || !slot.nonce.starts_with(&facts.process)) {
                        // As if this process had claimed it, had sent no create, and had no time left to send one.
                        slot.nonce = format!("{}-unsent", facts.process);
                        slot.not_after = Some(now.server_or_wall());
                    }
                }
            }
            Self::IgnoresHoldAtClose => {
                if let (Some(_), Some(manual)) = (&facts.status.reservation, &mut facts.identity.manual) {
                    manual.hold = None;
                }
            }
            Self::NumberFromRunsAlone if facts.status.attempt == 0 => versions.clear(),
            Self::JudgesAnewAfterCrash => {
                let open = facts.status.reservation.iter().flat_map(|open| &open.slots);
                let judged: Vec<_> = open
                    .filter(|slot| {
                        slot.state == SlotState::Reserved && !facts.memory.judged.contains_key(&slot.run_name)
                    })
                    .map(|slot| slot.run_name.clone())
                    .collect();
                versions.retain(|(_, spec)| !judged.contains(&spec.run.name));
            }
            Self::DecidesWithoutLookUp => {
                let open = facts.status.reservation.iter().flat_map(|open| &open.slots);
                facts.memory.absent = open.map(|slot| slot.run_name.clone()).collect();
            }
            Self::ForgetsRefusalAtRestart => {
                for slot in facts.status.reservation.iter_mut().flat_map(|open| &mut open.slots) {
                    if !slot.nonce.starts_with(&facts.process) && slot.refusal.take().is_some() {
                        facts.memory.posts.remove(&slot.run_name);
                    }
                }
            }
            Self::HoldsWhatIsRemoved => {
                let held = facts.identity.manual.as_ref().and_then(|manual| manual.hold.as_ref());
                facts.status.removed.retain(|removed| Some(&removed.name) != held);
            }
            _ => {}
        }
    }

    /// Alters the plan. `with_record` decides as if this record existed already.
    pub fn plan(
        self,
        mut plan: Plan,
        stored: &ModelTrainStatus,
        facts: &Altered,
        now: Now,
        with_record: &dyn Fn(&ModelVersionSpec) -> Plan,
    ) -> Plan {
        if matches!(self, Self::AcceptsWithoutRecord | Self::RecordAfterAcceptance)
            && let [record @ Effect::CreateVersion(spec, _)] = plan.effects.as_slice()
        {
            let mut early = with_record(spec);
            if self == Self::RecordAfterAcceptance {
                early.effects.push(record.clone());
            }
            return early;
        }
        let Some(Effect::WriteStatus(status)) = plan.effects.first_mut() else { return plan };
        match self {
            Self::NotesBudgetAfterCreate if plan.rule == Rule::Reserve => status.budget.clone_from(&stored.budget),
            Self::NotesBudgetAfterCreate if plan.rule == Rule::CloseTraining => {
                let created = facts.memory.posts.values().filter(|post| post.state == PostState::Created).count();
                let mut budget =
                    stored.budget.clone().unwrap_or(BudgetStatus { started_at: Vec::new(), frees_at: None });
                budget.started_at.extend(std::iter::repeat_n(now.wall, created));
                status.budget = (!budget.started_at.is_empty()).then_some(budget);
            }
            Self::AnswersNoReason if plan.rule == Rule::CloseTraining => status.answered_reasons.clear(),
            _ => {}
        }
        plan
    }

    /// Undoes alterations of the stored status in the status to be written.
    pub fn restore(self, stored: &ModelTrainStatus, written: &mut ModelTrainStatus) {
        if self == Self::HoldsWhatIsRemoved && written.removed.len() < stored.removed.len() {
            written.removed.clone_from(&stored.removed);
        }
        let (Some(stored), Some(written)) = (&stored.reservation, &mut written.reservation) else { return };
        if self == Self::ForgetsRefusalAtRestart {
            for (slot, before) in
                written.slots.iter_mut().zip(&stored.slots).filter(|(slot, old)| slot.nonce == old.nonce)
            {
                slot.refusal.clone_from(&before.refusal);
            }
        }
        if self == Self::SameAtOnceAfter404 && stored.attempt == written.attempt {
            for (slot, before) in written.slots.iter_mut().zip(&stored.slots) {
                if slot.nonce.ends_with("-unsent") {
                    slot.clone_from(before);
                }
            }
        }
    }

    /// Whether a record replaces one that exists.
    pub fn replaces_records(self) -> bool {
        self == Self::JudgesAnewAfterCrash
    }

    /// Whether a write by this rule carries the resourceVersion.
    pub fn is_conditional(self, rule: Rule) -> bool {
        match self {
            Self::ReserveWithoutVersion => rule != Rule::Reserve,
            Self::CloseWithoutVersion => rule != Rule::CloseTraining,
            _ => true,
        }
    }
}
