//! The acceptance test of records: a chain as built verifies, and every change to one is found.

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::api::{
    AcceptedVersion, Artifact, GateReport, ModelTrainStatus, Outcome, RecordedMetric, RecordedOutput,
    RecordedParameter, RecordedRun, RuleReport, StaleReason, StaleReasonType, TrainRef, Verdict,
};

/// A draft with every field set.
fn draft(attempt: i64, candidate: &str) -> ModelVersionSpec {
    let at = |second| Some(Timestamp::from_second(1_700_000_000 + attempt * 1000 + second).unwrap());
    let name = ["issues-0123456789abcdef", &attempt.to_string(), candidate].join("-");
    ModelVersionSpec {
        train_ref: TrainRef { name: "issues".into(), uid: "9d0c".into() },
        attempt,
        candidate: candidate.into(),
        run: RecordedRun {
            api_version: "tekton.dev/v1".into(),
            kind: "PipelineRun".into(),
            uid: format!("uid-of-{name}"),
            name,
            outcome: Outcome::Succeeded,
            started_at: at(0),
            finished_at: at(600),
        },
        reasons: vec![StaleReason {
            type_: StaleReasonType::Input,
            name: "data".into(),
            value: input_digest(&attempt.to_string()),
        }],
        inputs: vec![recorded_input("data", &format!("snapshot-{attempt}"), "http http://data.default/newest")],
        parameters: vec![RecordedParameter { name: "depth".into(), value: "3".into() }],
        artifact: Some(Artifact {
            uri: format!("s3://models/{attempt}{candidate}"),
            digest: format!("sha256:{attempt:064x}"),
        }),
        metrics: vec![
            RecordedMetric { name: "r2".into(), value: Some(format!("0.8{attempt}")), source: "Results".into() },
            RecordedMetric { name: "loss".into(), value: None, source: "Results".into() },
        ],
        outputs: vec![RecordedOutput { name: "report-uri".into(), value: "https://reports/1".into() }],
        results_problem: "the message was cut".into(),
        gate: GateReport {
            verdict: Verdict::Passed,
            compared_to: "issues-0123456789abcdef-0".into(),
            score: Some(format!("0.8{attempt}")),
            rules: vec![RuleReport {
                name: "good".into(), verdict: Verdict::Passed, message: "é \u{1f600} \"".into()
            }],
        },
        previous: None,
        digest: String::new(),
    }
}

fn accepted(spec: &ModelVersionSpec) -> AcceptedVersion {
    let artifact = spec.artifact.clone().unwrap();
    AcceptedVersion {
        name: spec.run.name.clone(),
        metrics: spec.metrics.clone(),
        score: spec.gate.score.clone(),
        uri: artifact.uri,
        digest: artifact.digest,
        inputs: spec.inputs.clone(),
        trained_at: spec.run.finished_at.unwrap(),
        accepted_at: Timestamp::from_second(1_800_000_000).unwrap(),
    }
}

/// A ModelTrain's records as JSON, as the API server stores them, and its status.
#[derive(Clone, Debug)]
struct Chain {
    records: Vec<(String, Value)>,
    status: ModelTrainStatus,
}

impl Chain {
    fn empty() -> Self {
        Self { records: Vec::new(), status: ModelTrainStatus::default() }
    }

    /// A chain of `count` records; the one at `accepted` is accepted.
    fn of(count: i64, accepted: usize) -> Self {
        let mut chain = Self::empty();
        for attempt in 1..=count {
            chain.write(attempt, "a");
        }
        chain.accept(accepted);
        chain
    }

    fn write(&mut self, attempt: i64, candidate: &str) {
        self.write_uncommitted(attempt, candidate);
        let spec = self.spec(self.records.len() - 1);
        self.status.head = Some(reference(&spec));
    }

    fn write_uncommitted(&mut self, attempt: i64, candidate: &str) {
        let spec = next_record(draft(attempt, candidate), self.status.head.as_ref());
        self.records.push((spec.run.name.clone(), serde_json::to_value(spec).unwrap()));
    }

    fn accept(&mut self, at: usize) {
        self.status.accepted_version = Some(Box::new(accepted(&self.spec(at))));
    }

    fn spec(&self, at: usize) -> ModelVersionSpec {
        serde_json::from_value(self.records[at].1.clone()).unwrap()
    }

    fn note(&mut self, at: usize) {
        let specs: Vec<_> = (0..self.records.len()).map(|at| self.spec(at)).collect();
        let links: Vec<_> = specs
            .iter()
            .map(|spec| Link { name: &spec.run.name, digest: &spec.digest, previous: spec.previous.as_ref() })
            .collect();
        self.status.removed = remove(&self.status.removed, &links, &self.records[at].0).unwrap();
    }

    fn remove(&mut self, at: usize) {
        self.note(at);
        self.records.remove(at);
    }

    /// The proof, as the command makes it: an unreadable record is a problem, and one that names another uid is of
    /// another chain.
    fn verify(&self) -> Report {
        let mut unreadable = Vec::new();
        let mut records = Vec::new();
        for (name, spec) in &self.records {
            match Record::read(name, spec.clone()) {
                Ok(record) if record.spec.train_ref.uid == "9d0c" => records.push(record),
                Ok(_) => {}
                Err(error) => {
                    unreadable.push(Problem::Unreadable { record: name.clone(), error: error.to_string() });
                }
            }
        }
        let mut report = verify(&records, Some(&self.status), &[]);
        report.problems.extend(unreadable);
        report
    }

    fn assert_whole(&self) {
        let report = self.verify();
        assert_eq!(report.problems, [], "{self:#?}");
    }

    fn assert_found(&self, what: &str) {
        assert!(!self.verify().problems.is_empty(), "{what} is not found: {self:#?}");
    }
}

/// JSON pointers of every scalar.
fn scalars(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => object.iter().for_each(|(key, value)| scalars(value, &format!("{at}/{key}"), found)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, value)| scalars(value, &format!("{at}/{index}"), found));
        }
        _ => found.push(at.to_owned()),
    }
}

/// JSON pointers of every object and list.
fn containers(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            found.push(at.to_owned());
            object.iter().for_each(|(key, value)| containers(value, &format!("{at}/{key}"), found));
        }
        Value::Array(items) => {
            found.push(at.to_owned());
            items.iter().enumerate().for_each(|(index, value)| containers(value, &format!("{at}/{index}"), found));
        }
        _ => {}
    }
}

/// Another value of the same type; the schema allows it where possible.
fn other(value: &Value) -> Value {
    match value {
        Value::String(text) => match text.as_str() {
            "Passed" | "Succeeded" => json!("Failed"),
            "Input" => json!("MaxAge"),
            text if text.parse::<Timestamp>().is_ok() => json!("2020-01-01T00:00:00Z"),
            text => json!(format!("{text}x")),
        },
        Value::Number(number) => json!(number.as_i64().unwrap() + 1),
        other => panic!("{other}"),
    }
}

/// Every way to change one scalar, to leave out one member, and to add one, with its description.
fn changes(value: &Value) -> Vec<(String, Value)> {
    let (mut places, mut outer, mut changed) = (Vec::new(), Vec::new(), Vec::new());
    scalars(value, "", &mut places);
    containers(value, "", &mut outer);
    for place in &places {
        let mut copy = value.clone();
        let there = copy.pointer_mut(place).unwrap();
        *there = other(there);
        changed.push((format!("a changed {place}"), copy));
    }
    for place in &outer {
        let mut shorter = value.clone();
        if let Value::Array(items) = shorter.pointer_mut(place).unwrap() {
            items.pop();
            changed.push((format!("{place} with one item less"), shorter));
            continue;
        }
        for name in value.pointer(place).unwrap().as_object().unwrap().keys() {
            let mut copy = value.clone();
            copy.pointer_mut(place).unwrap().as_object_mut().unwrap().remove(name);
            changed.push((format!("{place} without {name}"), copy));
        }
        let mut copy = value.clone();
        copy.pointer_mut(place).unwrap()["added"] = json!("x");
        changed.push((format!("{place} with one more member"), copy));
    }
    changed
}

/// Sets the digest to that of the present content, as an attacker who knows the form would.
fn seal(spec: &mut Value) {
    spec["digest"] = json!(digest_as_stored(spec));
}

/// A changed digest would break every chain of every user at an upgrade.
#[test]
fn digest_stays_what_it_was_in_earlier_releases() {
    let first = next_record(draft(1, "a"), None);
    let second = next_record(draft(2, ""), Some(&reference(&first)));
    assert_eq!(
        [first.digest, second.digest],
        [
            "v1:sha256:754eebf7777723d7a4e3ead56bf46e6b2382718e93cf0c54796b0cef5576cb04",
            "v1:sha256:e1f37db2951ef94a4308e5adc74068b9b3e635f74330554349b44959e505f3e4",
        ]
    );
}

#[test]
fn digest_is_that_of_the_canonical_form_in_any_order_of_members() {
    let (one, other) = (r#"{"b":1,"a":"é\u0000","digest":"x"}"#, r#"{"digest":"y","a":"\u00e9\u0000","b":1.0}"#);
    let digest_of = |text: &str| digest_as_stored(&serde_json::from_str(text).unwrap());
    assert_eq!(digest_of(one), digest_of(other));
    let form = "{\"a\":\"é\\u0000\",\"b\":1}";
    assert_eq!(digest_of(one), format!("v1:sha256:{}", hex(&Sha256::digest(form))));
}

#[test]
fn written_and_stored_spec_have_the_same_digest() {
    let spec = next_record(draft(1, "a"), None);
    let stored: Value = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
    assert_eq!(digest_as_stored(&stored), spec.digest);
    assert!(Record::read(spec.run.name.clone(), stored).unwrap().is_sound());
}

#[test]
fn inputs_are_cut_between_characters_and_digested_whole() {
    let long = "é".repeat(200);
    let input = recorded_input("data", &long, &"ü".repeat(300));
    assert_eq!((input.value.len(), input.source.len()), (256, 512));
    assert_eq!(input.digest, input_digest(&long));
    assert_ne!(input.digest, input_digest(&input.value));
    assert_eq!(recorded_input("data", &format!("a{long}"), "").value.len(), 255);
    assert_eq!(input_digest("a"), "sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb");
}

#[test]
fn accepted_version_of_a_run_that_states_no_end_is_as_old_as_its_acceptance() {
    let mut chain = Chain::empty();
    let mut draft = draft(1, "a");
    draft.run.finished_at = None;
    let spec = next_record(draft, None);
    chain.status.head = Some(reference(&spec));
    let finished = ModelVersionSpec {
        run: RecordedRun { finished_at: Some(Timestamp::from_second(1_800_000_000).unwrap()), ..spec.run.clone() },
        ..spec.clone()
    };
    chain.status.accepted_version = Some(Box::new(accepted(&finished)));
    chain.records.push((spec.run.name.clone(), serde_json::to_value(spec).unwrap()));
    chain.assert_whole();
}

#[test]
fn every_change_to_any_record_is_found() {
    let chain = Chain::of(4, 1);
    chain.assert_whole();
    let mut count = 0;
    for at in 0..4 {
        for (what, changed) in changes(&chain.records[at].1) {
            let mut tampered = chain.clone();
            tampered.records[at].1 = changed;
            tampered.assert_found(&format!("record {at}: {what}"));
            count += 1;
        }
    }
    assert!(count > 300, "{count} changes");
}

#[test]
fn every_change_to_a_record_that_states_its_new_digest_is_found() {
    let chain = Chain::of(4, 1);
    for at in 0..4 {
        for (what, mut changed) in changes(&chain.records[at].1) {
            seal(&mut changed);
            if changed == chain.records[at].1 {
                continue;
            }
            let mut tampered = chain.clone();
            tampered.records[at].1 = changed;
            tampered.assert_found(&format!("record {at}: {what}, sealed anew"));
        }
    }
}

#[test]
fn every_change_to_the_chain_in_the_status_is_found() {
    let mut chain = Chain::of(8, 3);
    for at in [5, 4, 0, 0] {
        chain.remove(at);
    }
    chain.assert_whole();
    let status = serde_json::to_value(&chain.status).unwrap();
    let mut count = 0;
    for member in ["head", "removed", "acceptedVersion"] {
        for (what, changed) in changes(&status[member]) {
            let mut tampered = chain.clone();
            let mut edited = status.clone();
            edited[member] = changed;
            let Ok(edited) = serde_json::from_value::<ModelTrainStatus>(edited) else { continue };
            tampered.status = edited;
            // No record confirms the time of acceptance, and the score may be missing.
            if serde_json::to_value(&tampered.status).unwrap() == status
                || what.contains("acceptedAt")
                || what.contains("without score")
            {
                continue;
            }
            tampered.assert_found(&format!("{member}: {what}"));
            count += 1;
        }
    }
    assert!(count > 40, "{count} changes");
}

#[test]
fn exchanged_and_repeated_entries_of_removed_records_are_found() {
    let mut chain = Chain::of(6, 5);
    for _ in 0..3 {
        chain.remove(0);
    }
    for (one, other) in [(0, 1), (1, 2), (0, 2)] {
        let mut tampered = chain.clone();
        tampered.status.removed.swap(one, other);
        tampered.assert_found(&format!("entries {one} and {other} exchanged"));
        let mut tampered = chain.clone();
        let repeated = tampered.status.removed[one].clone();
        tampered.status.removed.insert(other, repeated);
        tampered.assert_found(&format!("entry {one} repeated at {other}"));
    }
}

#[test]
fn lost_exchanged_and_inserted_records_are_reported_by_kind() {
    let names =
        |report: &Report| report.problems.iter().map(|problem| format!("{problem:?}")).collect::<Vec<_>>().join("\n");
    let is = |chain: &Chain, kind: &str| {
        let found = names(&chain.verify());
        assert!(found.contains(kind), "{kind}: {found}");
    };
    let chain = Chain::of(5, 4);
    for at in 0..5 {
        let mut lost = chain.clone();
        lost.records.remove(at);
        is(&lost, "Missing");
        for other in at + 1..5 {
            let mut exchanged = chain.clone();
            let spec = exchanged.records[at].1.clone();
            exchanged.records[at].1 = std::mem::replace(&mut exchanged.records[other].1, spec);
            is(&exchanged, "WrongName");
        }
    }
    let mut fork = chain.clone();
    let slipped = next_record(draft(3, "b"), chain.spec(3).previous.as_ref());
    fork.records.push((slipped.run.name.clone(), serde_json::to_value(slipped).unwrap()));
    is(&fork, "Fork");
    let mut two_after_head = chain.clone();
    two_after_head.write_uncommitted(6, "a");
    two_after_head.write_uncommitted(6, "b");
    is(&two_after_head, "Fork");
    let mut second_beginning = chain.clone();
    let slipped = next_record(draft(1, "b"), None);
    second_beginning.records.push((slipped.run.name.clone(), serde_json::to_value(slipped).unwrap()));
    is(&second_beginning, "Fork");
    let mut set_back = chain.clone();
    set_back.status.head = Some(reference(&chain.spec(2)));
    set_back.accept(2);
    is(&set_back, "Outside");
    let mut headless = chain.clone();
    headless.status.head = None;
    is(&headless, "NoHead");
    let mut unfit = Chain::empty();
    let spec = ModelVersionSpec { gate: GateReport { verdict: Verdict::Failed, ..draft(1, "").gate }, ..draft(1, "") };
    let spec = next_record(spec, None);
    unfit.status.head = Some(reference(&spec));
    unfit.records.push((spec.run.name.clone(), serde_json::to_value(&spec).unwrap()));
    unfit.accept(0);
    is(&unfit, "AcceptedUnfit");
}

#[test]
fn one_lost_record_is_one_problem() {
    let mut chain = Chain::of(9, 8);
    chain.records.remove(3);
    let report = chain.verify();
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    let severed = chain.records[2].0.clone();
    assert_eq!(report.notes, [Note::Severed { record: severed, records: 3 }]);
}

#[test]
fn record_after_the_head_is_no_problem_and_a_second_one_is() {
    let mut chain = Chain::empty();
    chain.write_uncommitted(1, "a");
    let note = Note::Uncommitted { record: chain.records[0].0.clone() };
    assert_eq!((chain.verify().problems, chain.verify().notes), (vec![], vec![note]));
    let mut chain = Chain::of(3, 2);
    chain.write_uncommitted(4, "a");
    let note = Note::Uncommitted { record: chain.records[3].0.clone() };
    assert_eq!((chain.verify().problems, chain.verify().notes), (vec![], vec![note]));
    let uncommitted = next_record(draft(5, "a"), Some(&reference(&chain.spec(3))));
    chain.records.push((uncommitted.run.name.clone(), serde_json::to_value(uncommitted).unwrap()));
    chain.assert_found("a second record after the head");
    chain.records.pop();
    chain.accept(3);
    chain.assert_found("an accepted version that is not committed");
}

#[test]
fn record_that_is_noted_and_not_deleted_yet_is_no_problem() {
    let mut chain = Chain::of(4, 3);
    chain.note(0);
    chain.note(1);
    assert_eq!((chain.verify().problems.len(), chain.verify().notes.len()), (0, 2));
    chain.records[0].1["attempt"] = json!(7);
    seal(&mut chain.records[0].1);
    chain.assert_found("a changed record that is noted");
}

#[test]
fn records_of_a_deleted_train_are_proved_without_a_head() {
    let orphans = |chain: &Chain| {
        let records: Vec<_> =
            chain.records.iter().map(|(name, spec)| Record::read(name, spec.clone()).unwrap()).collect();
        verify(&records, None, &[])
    };
    let mut chain = Chain::of(6, 5);
    let report = orphans(&chain);
    assert_eq!((report.problems.len(), report.notes.len(), report.head), (0, 0, chain.status.head.clone()));
    // Without the status, nothing says why the record is missing.
    chain.remove(2);
    let report = orphans(&chain);
    assert_eq!(report.problems, []);
    assert!(matches!(&report.notes[..], [Note::Gap { .. }]), "{:?}", report.notes);
    let mut changed = chain.clone();
    changed.records[1].1["attempt"] = json!(1);
    assert!(!orphans(&changed).problems.is_empty());
    let slipped = next_record(draft(9, "b"), chain.spec(3).previous.as_ref());
    chain.records.push((slipped.run.name.clone(), serde_json::to_value(slipped).unwrap()));
    assert!(matches!(&orphans(&chain).problems[..], [Problem::Fork { .. }]));
}

#[test]
fn version_that_a_predecessor_accepted_is_found_among_its_records() {
    let predecessor = Chain::of(3, 2);
    let earlier: Vec<_> =
        predecessor.records.iter().map(|(name, spec)| Record::read(name, spec.clone()).unwrap()).collect();
    let mut status = ModelTrainStatus { accepted_version: predecessor.status.accepted_version, ..Default::default() };
    assert_eq!(verify(&[], Some(&status), &earlier).problems, []);
    assert!(matches!(verify(&[], Some(&status), &[]).problems[..], [Problem::AcceptedMissing { .. }]));
    status.accepted_version.as_mut().unwrap().uri = "s3://other".into();
    assert!(matches!(
        verify(&[], Some(&status), &earlier).problems[..],
        [Problem::AcceptedDiffers { field: "uri", .. }]
    ));
}

#[test]
fn full_list_of_removed_records_still_bridges_the_whole_chain() {
    let mut chain = Chain::of(150, 0);
    // The accepted version is the oldest, and is kept.
    for _ in 0..140 {
        chain.remove(1);
        assert!(chain.status.removed.len() <= MAX_REMOVED);
    }
    chain.assert_whole();
    assert_eq!(chain.verify().records, 10);
    chain.records.remove(0);
    chain.status.accepted_version = None;
    chain.assert_found("the loss of a record that is older than the list");
}

#[test]
fn record_is_kept_when_the_list_is_full_of_entries_that_cannot_be_merged() {
    let mut chain = Chain::of(210, 209);
    for at in 0..100 {
        chain.remove(at + 1);
    }
    chain.assert_whole();
    let specs: Vec<_> = (0..chain.records.len()).map(|at| chain.spec(at)).collect();
    let links: Vec<_> = specs
        .iter()
        .map(|spec| Link { name: &spec.run.name, digest: &spec.digest, previous: spec.previous.as_ref() })
        .collect();
    assert_eq!(remove(&chain.status.removed, &links, &chain.records[104].0), None);
    assert!(remove(&chain.status.removed, &links, &chain.records[50].0).is_some(), "it joins its neighbours");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn chain_verifies_after_any_removals_and_in_any_order_of_records(
        candidates in prop::collection::vec(1..4_i64, 1..12),
        removals in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        accept in any::<prop::sample::Index>(), rotate in any::<prop::sample::Index>(), uncommitted in any::<bool>(),
    ) {
        let mut chain = Chain::empty();
        for (attempt, count) in (1..).zip(&candidates) {
            for candidate in 0..*count {
                chain.write(attempt, ["b", "a", "c"][usize::try_from(candidate).unwrap()]);
            }
        }
        let newest = chain.records.last().unwrap().0.clone();
        for removal in &removals {
            let at = removal.index(chain.records.len());
            if chain.records[at].0 != newest {
                chain.remove(at);
            }
        }
        let at = accept.index(chain.records.len());
        chain.accept(at);
        if uncommitted {
            chain.write_uncommitted(100, "a");
        }
        let middle = rotate.index(chain.records.len());
        chain.records.rotate_left(middle);
        let report = chain.verify();
        prop_assert_eq!(report.problems, vec![]);
        prop_assert_eq!(report.notes.len(), usize::from(uncommitted));
    }

    #[test]
    fn any_two_changes_at_once_are_found(
        count in 2..7_i64, removals in 0..3_usize,
        one in any::<(prop::sample::Index, prop::sample::Index)>(), other in any::<(prop::sample::Index, prop::sample::Index)>(),
        sealed in any::<bool>(),
    ) {
        let mut chain = Chain::of(count + 2, usize::try_from(count + 1).unwrap());
        for _ in 0..removals.min(usize::try_from(count).unwrap()) {
            chain.remove(0);
        }
        let before = chain.records.clone();
        for (record, change) in [one, other] {
            let at = record.index(chain.records.len());
            let all = changes(&chain.records[at].1);
            chain.records[at].1 = change.get(&all).1.clone();
            if sealed {
                seal(&mut chain.records[at].1);
            }
        }
        prop_assume!(chain.records != before);
        prop_assert!(!chain.verify().problems.is_empty(), "{chain:#?}");
    }
}
