//! From a spec to the target of its polls. Pure.

use crate::{
    api::{Compare, ModelSyncSpec},
    core::{
        invalid::Invalid,
        poll::request::PollTarget,
        source::validate::{check_request, check_source, check_url},
    },
};

/// The poll target of a spec. Checks what the CRD's schema checks, and what the schema cannot check: paths and URLs.
pub fn poll_target(spec: &ModelSyncSpec) -> Result<PollTarget, Invalid> {
    match (&spec.needs_sync_url, &spec.compare) {
        (Some(_), Some(_)) => Err(Invalid::new("spec.needsSyncUrl", "and spec.compare are both set: keep one of them")),
        (None, Some(compare)) => compared(compare),
        (given, None) => {
            let given = given.as_deref().filter(|text| !text.is_empty()).ok_or_else(missing)?;
            let url = check_url("spec.needsSyncUrl", given)?;
            if let Some(request) = &spec.request {
                check_request("spec.request", request)?;
            }
            Ok(PollTarget::NeedsSync { url: url.into(), request: spec.request.clone() })
        }
    }
}

fn missing() -> Invalid {
    Invalid::new(
        "spec.needsSyncUrl",
        "is missing: set it to the http or https URL of the endpoint that says whether a sync is needed, or set \
         spec.compare to compare two values",
    )
}

fn compared(compare: &Compare) -> Result<PollTarget, Invalid> {
    check_source("spec.compare.desired", &compare.desired)?;
    check_source("spec.compare.actual", &compare.actual)?;
    Ok(PollTarget::Compare(Box::new(compare.clone())))
}
