//! The version of a ModelTrain that a ModelSync serves, from its spec, its poll responses and its status. Pure.

use super::{
    facts::Facts,
    validate::{Served, Valid, served},
};
use crate::{
    api::{ModelSyncSpec, ModelSyncStatus, Serving},
    core::{
        invalid::Invalid,
        poll::response::PollResponse,
        run::{knowledge::ObjectInfo, name::is_run_name},
        time::{Now, whole_seconds},
        version::follower::Follower,
    },
};

/// The version that is served now that no sync is needed. If the response names no version, the earlier one stays.
pub(super) fn in_sync(facts: &Facts<'_>, valid: &Valid<'_>, response: &PollResponse, now: Now) -> Option<Box<Serving>> {
    let (served, before) = (valid.serves?, still(facts));
    let Some(version) = response.parameters.get(served.parameter).filter(|name| is_run_name(name)) else {
        return before;
    };
    before.filter(|before| before.version == *version).or_else(|| {
        let (model_train, version) = (served.train.to_owned(), version.clone());
        Some(Box::new(Serving { model_train, version, since: whole_seconds(now.wall) }))
    })
}

/// The version in status, as long as the spec names the same ModelTrain, even while a sync is needed. An invalid spec
/// does not remove it.
pub(super) fn still(facts: &Facts<'_>) -> Option<Box<Serving>> {
    let stored = facts.status.serving.as_ref()?;
    let serves = facts.spec.as_ref().map_or(Some(stored.model_train.as_str()), |valid| {
        valid.serves.map(|served| served.train).filter(|train| *train == stored.model_train)
    });
    serves.map(|_| stored.clone())
}

/// The ModelTrain that an object follows, and the object as its follower. `None` if it follows none.
pub fn follower(
    object: &ObjectInfo,
    spec: &ModelSyncSpec,
    status: &ModelSyncStatus,
) -> Result<Option<(String, Follower)>, Invalid> {
    let Some(Served { train, .. }) = served(spec)? else { return Ok(None) };
    let serving = status.serving.as_deref().filter(|serving| serving.model_train == train);
    let serving = serving.map(|serving| (serving.version.clone(), serving.since));
    Ok(Some((train.to_owned(), Follower { name: object.name.to_string(), uid: object.uid.to_string(), serving })))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "built in place at every call")]
    fn spec(serves: Value, desired: Value) -> ModelSyncSpec {
        let compare = json!({ "desired": desired, "actual": { "literal": "x" } });
        let mut spec = json!({ "compare": compare });
        if !serves.is_null() {
            spec["serves"] = serves;
        }
        serde_json::from_value(spec).unwrap()
    }

    fn said(spec: &ModelSyncSpec) -> Option<(&str, &str)> {
        served(spec).unwrap().map(|served| (served.train, served.parameter))
    }

    #[test]
    fn accepted_version_as_the_whole_desired_value_is_served_whichever_field_is_compared() {
        for source in [
            json!({ "name": "t" }),
            json!({ "name": "t", "field": "Uri" }),
            json!({ "name": "t", "field": "TrainedAt", "select": "Accepted" }),
        ] {
            let spec = spec(Value::Null, json!({ "modelTrain": source }));
            assert_eq!(said(&spec), Some(("t", "name")), "{source}");
        }
    }

    #[test]
    fn only_the_whole_accepted_version_is_served_unless_spec_serves_overrides_it() {
        let train = json!({ "modelTrain": { "name": "t" } });
        let last = json!({ "modelTrain": { "name": "t", "select": "LastAttempt" } });
        let all = json!({ "all": [{ "name": "model", "modelTrain": { "name": "t" } }] });
        let literal = json!({ "literal": "m-1" });
        for desired in [&last, &all, &literal] {
            assert_eq!(said(&spec(Value::Null, desired.clone())), None, "{desired}");
        }
        assert_eq!(said(&spec(json!({ "disabled": true }), train.clone())), None);
        assert_eq!(said(&spec(json!({ "disabled": true, "modelTrain": "u", "parameter": "p" }), train)), None);
        let explicit = json!({ "modelTrain": "u", "parameter": "model.name" });
        assert_eq!(said(&spec(explicit.clone(), all)), Some(("u", "model.name")));
        assert_eq!(said(&spec(explicit, literal)), Some(("u", "model.name")));
    }

    #[test]
    fn incomplete_spec_serves_is_refused_with_its_remedy() {
        for serves in [json!({}), json!({ "modelTrain": "t" }), json!({ "modelTrain": "", "parameter": "p" })] {
            let problem = served(&spec(serves.clone(), json!({ "literal": "x" }))).unwrap_err().to_string();
            assert_eq!(problem, "spec.serves needs modelTrain and parameter, or disabled: true", "{serves}");
        }
    }

    #[test]
    fn follower_serves_nothing_of_another_train() {
        let object = ObjectInfo { name: "s".into(), uid: "u".into(), ..ObjectInfo::default() };
        let serving = |train: &str| ModelSyncStatus {
            serving: Some(Box::new(Serving {
                model_train: train.into(),
                version: "v-1".into(),
                since: jiff::Timestamp::UNIX_EPOCH,
            })),
            ..ModelSyncStatus::default()
        };
        let spec = spec(Value::Null, json!({ "modelTrain": { "name": "t" } }));
        let of = |status| follower(&object, &spec, &status).unwrap().unwrap();
        assert_eq!(of(serving("t")).1.serving, Some(("v-1".into(), jiff::Timestamp::UNIX_EPOCH)));
        assert_eq!(of(serving("other")).1.serving, None);
        assert_eq!((of(ModelSyncStatus::default()).0.as_str()), "t");
    }
}
