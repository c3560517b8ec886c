//! Gathers the versions and followers that a decision about a ModelTrain needs. Reads stores only; no IO.

use std::{collections::BTreeMap, sync::Arc};

use super::ModelTrains;
use crate::{
    api::{ModelTrainStatus, ModelVersionSpec, ServedBy},
    core::{
        run::knowledge::ObjectInfo,
        sync::follower,
        train::{Facts, VersionKnowledge},
        version::follower::Follower,
    },
    kube_io::{store::VersionsOf, versions::StoredVersion},
};

/// Versions of an object, and of earlier objects of its name.
type OwnAndEarlier = (Vec<Arc<StoredVersion>>, Vec<Arc<StoredVersion>>);

/// What a reconcile has gathered besides the object and its runs.
pub(super) struct Gathered {
    versions: Option<OwnAndEarlier>,
    details: BTreeMap<String, Arc<ModelVersionSpec>>,
    pub(super) followers: Vec<Follower>,
}

impl Gathered {
    /// What is known of the versions.
    pub(super) fn knowledge(&self) -> VersionKnowledge<'_> {
        match &self.versions {
            None => VersionKnowledge::Unknown,
            Some((own, earlier)) => VersionKnowledge::Known {
                own: own.iter().map(|version| &version.record).collect(),
                earlier: earlier.iter().map(|version| &version.record).collect(),
                details: &self.details,
            },
        }
    }
}

impl ModelTrains {
    /// The versions and followers of this object.
    pub(super) fn gather(&self, info: &ObjectInfo, status: &ModelTrainStatus) -> Gathered {
        let followers = self.followers(info);
        let versions = self.versions(info, status);
        let mut details = BTreeMap::new();
        if let Some((own, earlier)) = &versions {
            let wanted = Facts::wanted(info, status, &followers);
            // Of an earlier object, only versions that may be restored are read whole.
            let restores = status.attempt == 0 && status.accepted_version.is_none();
            let to_take_up = earlier.iter().filter(|_| restores);
            let named =
                own.iter().chain(earlier).filter(|version| wanted.iter().any(|name| **name == *version.record.name));
            for version in named.chain(to_take_up) {
                if let Ok((spec, _)) = version.read() {
                    details.insert(version.record.name.to_string(), Arc::new(spec));
                }
            }
        }
        Gathered { versions, details, followers }
    }

    /// Versions of the object, and of earlier objects of its name while the object has no version of its own.
    fn versions(&self, info: &ObjectInfo, status: &ModelTrainStatus) -> Option<OwnAndEarlier> {
        let of = |uid: &str| match self.versions.of(&info.namespace, uid) {
            VersionsOf::Known(versions) => Some(versions),
            VersionsOf::Unknown | VersionsOf::Missing => None,
        };
        let own = of(&info.uid)?;
        let held = info.manual.as_ref().is_some_and(|manual| manual.hold.is_some());
        let takes_up = status.attempt == 0 || held;
        let mut earlier = Vec::new();
        if takes_up {
            let uids = self.versions.trains_named(&info.namespace, &info.name);
            for uid in uids.iter().filter(|uid| **uid != info.uid) {
                earlier.extend(of(uid)?);
            }
        }
        Some((own, earlier))
    }

    /// The ModelSyncs that follow. A ModelSync that a record names, and that no reconcile has read in this term yet, is read
    /// here: it serves what the record says until its own status says otherwise, or until it is certainly gone.
    fn followers(&self, info: &ObjectInfo) -> Vec<Follower> {
        let mut followers = self.followers.of(&info.namespace, &info.name);
        let VersionsOf::Known(versions) = self.versions.of(&info.namespace, &info.uid) else {
            return followers;
        };
        let mut entries: Vec<_> = versions
            .iter()
            .flat_map(|version| version.record.served_by.iter().map(|by| (by, &*version.record.name)))
            .collect();
        // The newest first: where two records name one ModelSync, the newest counts.
        entries.sort_by_key(|(by, _)| std::cmp::Reverse(by.since));
        for (by, version) in entries {
            if !followers.iter().any(|follower| follower.uid == by.uid) {
                followers.extend(self.recorded_follower(info, by, version));
            }
        }
        followers
    }

    /// What a ModelSync serves that a record names and no reconcile has read; `None` once it no longer follows, or is gone.
    fn recorded_follower(&self, info: &ObjectInfo, by: &ServedBy, version: &str) -> Option<Follower> {
        let as_recorded = || Follower {
            name: by.model_sync.clone(),
            uid: by.uid.clone(),
            serving: Some((version.to_owned(), by.since)),
        };
        // Before the object is read, so that no reconcile comes in between. An object that is not there is never reconciled:
        // waiting for it would keep the entry for ever.
        if self.model_syncs.get(&by.uid).is_some() {
            self.followers.await_reconcile(&by.uid, &info.namespace, &info.name);
        }
        let Some(object) = self.model_syncs.get(&by.uid) else {
            return (!self.model_syncs.knows(&info.namespace)).then(as_recorded);
        };
        let (Ok(spec), Ok(status)) = object.read() else { return Some(as_recorded()) };
        match follower(&object.identity, &spec, &status) {
            Ok(following) => following.filter(|(train, _)| **train == *info.name).map(|(_, follower)| follower),
            Err(_) => Some(as_recorded()),
        }
    }
}
