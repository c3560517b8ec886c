//! The part of a reconcile that only ModelTrains have: the facts that decisions about them need, and their effects. IO
//! through `kube_io` only.

mod effects;
mod gather;
mod model_trains;

use std::{collections::BTreeSet, sync::Arc};

pub use model_trains::ModelTrains;

use super::{
    effects::EffectResult,
    parsed::Parsed,
    reconcile::{Controller, KindController, ReconciledObject},
};
use crate::{
    api::{Kind, ModelTrain, ModelTrainSpec, ModelTrainStatus, template::RunTemplate},
    core::{
        poll::response::PollResult,
        run::{backend::RunRecord, effects::CreateRun, knowledge::ObjectInfo, proof::counts, retention::HistoryLimits},
        source::Reference,
        status::event::ObjectEvent,
        time::Now,
        train::{
            Compiled, Effect, Facts, Memory, Plan, Rule, TrainPollResponse, TrainPollTarget, Valid, decide, events,
            parse_spec, poll, references, status_after_panic,
        },
    },
    kube_io::store::RunsOf,
    lineage::event::{Job, JobKind, Run},
};

impl KindController for ModelTrains {
    type Kind = ModelTrain;
    type Memory = Memory;
    type Target = TrainPollTarget;
    type Response = TrainPollResponse;
    type Rule = Rule;
    type Effect = Effect;

    fn decide(&self, controller: &Controller<Self>, object: &ReconciledObject<'_, Self>) -> Plan {
        let (context, info, now) = (&controller.context, object.info(), object.now);
        let gathered = self.gather(info, object.status);
        let (process, nonce) = controller.memories.nonce();
        let parse = |spec| {
            let compiled = self.compiled.of(info, || Compiled::of(spec))?;
            parse_spec(spec, &compiled, context.runs.backends)
        };
        let spec = object.validate(parse, Valid::check_template);
        let owned = spec.as_ref().ok().map(|valid| valid.owned);
        let slots = || object.status.reservation.iter().flat_map(|open| &open.slots);
        let slots = || slots().map(|slot| (slot.run_name.as_str(), slot.proofs.as_slice()));
        let runs = context.runs.runs.of(&info.uid, &info.namespace, ModelTrain::KIND, &info.name);
        let runs = runs.counting(|run| counts(run, owned, slots()));
        let limits = spec.as_ref().map_or(HistoryLimits::KEEP_ALL, |valid| valid.policy.limits);
        let memory = controller.memories.change(&info.uid, |memory| {
            if let RunsOf::Known { own, .. } = &runs {
                let own: Vec<_> = own.iter().map(Arc::as_ref).collect();
                memory.observe(&own, limits, object.status, now.mono);
            }
            memory.clone()
        });
        let facts = Facts {
            object: info,
            runs: runs.knowledge(spec.as_ref().ok().map(|valid| valid.policy.kind())),
            spec,
            stored: object.status,
            status: object.status,
            versions: gathered.knowledge(),
            followers: &gathered.followers,
            fence: context.fence.get(),
            memory: &memory,
            unpolled: object.unpolled,
            nonce: &nonce,
            process: &process,
            claim_key: &context.claim_key,
            min_run_age: context.min_run_age,
        };
        decide(&facts, now)
    }

    async fn apply(
        &self,
        controller: &Controller<Self>,
        object: &ReconciledObject<'_, Self>,
        effect: &Effect,
    ) -> EffectResult {
        match effect {
            Effect::WriteStatus(after) => controller.write_status(object, after).await,
            Effect::CreateRun(run) => controller.create_run(object, run).await,
            Effect::LookUpRun(slot) => controller.look_up_run(object, slot).await,
            Effect::StopRun(run) => controller.stop_run(object, run).await,
            Effect::InspectRun(run) => controller.inspect_run(object, run).await,
            Effect::ReadResults(wanted) => self.read_results(controller, object, wanted).await,
            Effect::Judge(evidence) => self.judge(controller, object, evidence).await,
            Effect::CreateVersion(spec, policy) => self.create_version(controller, object, spec, *policy).await,
            Effect::LookUpVersion(name) => self.look_up_version(controller, object, name).await,
            Effect::WriteVersionStatus(name, after) => self.write_version_status(controller, object, name, after).await,
            Effect::DeleteVersion(name) => self.delete_version(object, name).await,
            Effect::DeleteRun(run) => controller.context.runs.delete(object.info(), run).await,
        }
    }

    /// The metrics of the run that is to be recorded next; between trainings, everything that freshness depends on.
    fn poll_target(&self, controller: &Controller<Self>, parsed: &Parsed<ModelTrain>) -> Option<TrainPollTarget> {
        let (Ok(spec), Ok(status)) = (&parsed.spec, &parsed.status) else { return None };
        let Some(open) = &status.reservation else { return poll::observe(spec) };
        let info = &parsed.record.identity;
        let runs = controller.context.runs.runs.of(&info.uid, &info.namespace, ModelTrain::KIND, &info.name);
        let RunsOf::Known { own, .. } = runs else { return None };
        poll::measure_next(spec, open, own.iter().map(Arc::as_ref))
    }

    fn count_poll(&self, polled: &PollResult<TrainPollResponse>) -> &'static str {
        match &polled.result {
            Ok(response) if response.is_complete() => "complete",
            Ok(_) => "incomplete",
            Err(error) => error.class.as_str(),
        }
    }

    fn references(spec: &ModelTrainSpec) -> BTreeSet<Reference> {
        references(spec)
    }

    fn templates(spec: &ModelTrainSpec) -> Vec<(&'static str, Option<&RunTemplate>)> {
        spec.templates().to_vec()
    }

    fn events(before: &ModelTrainStatus, after: &ModelTrainStatus) -> Vec<ObjectEvent> {
        events(before, after)
    }

    fn status_after_panic(object: &ObjectInfo, status: &ModelTrainStatus, now: Now) -> ModelTrainStatus {
        status_after_panic(object, status, now)
    }

    fn run_created(
        &self,
        controller: &Controller<Self>,
        object: &ReconciledObject<'_, Self>,
        run: &CreateRun,
        stored: &RunRecord,
    ) {
        let (info, runs) = (object.info(), &controller.context.runs);
        let Some(open) = &object.status.reservation else { return };
        let candidate = open.slots.iter().find(|slot| slot.run_name == run.name).map(|slot| slot.candidate.as_str());
        let run = Run {
            job: Job { kind: JobKind::Training, namespace: &info.namespace, name: &info.name, uid: &info.uid },
            uid: &stored.uid,
            kind: run.kind.kind,
            name: &run.name,
            attempt: open.attempt,
            candidate: candidate.unwrap_or_default(),
            reasons: &open.reasons,
            inputs: &open.inputs,
            parameters: run.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            parent: None,
        };
        runs.lineage.started(&run, stored.created_at.unwrap_or_else(|| runs.clock.now().wall));
    }

    /// The end of a run is counted and sent when its record is written.
    fn status_stored(&self, _: &Controller<Self>, _: &ReconciledObject<'_, Self>, _: &ModelTrainStatus) {}

    fn forget(&self, uid: &str) {
        self.compiled.forget(uid);
    }

    fn on_elected(&self) {
        self.compiled.clear();
    }
}
