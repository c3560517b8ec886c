//! Time in a world of trainings: advances the clock and waits until a ModelTrain has nothing more to write. IO.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use modelsync::core::time::{until, whole_seconds};
use serde_json::json;

use super::{Reply, World};

impl World {
    /// Sets the clock to a second after this moment.
    pub fn advance_past(&self, moment: Timestamp) {
        self.clock.advance(until(self.clock.now().wall, moment) + Duration::from_secs(1));
    }

    /// An hourly cron expression and its next time: half an hour from now, so that none comes during the scenario by
    /// itself.
    pub fn hourly(&self) -> (String, Timestamp) {
        let next = (self.clock.now().wall.as_second() + 30 * 60) / 60 * 60;
        (format!("{} * * * *", next / 60 % 60), Timestamp::from_second(next).unwrap())
    }

    /// Now, in whole seconds.
    pub fn now(&self) -> Timestamp {
        whole_seconds(self.clock.now().wall)
    }

    /// Lets the endpoint return this number under this name, at `$.value`.
    pub fn measures(&self, name: &str, value: &str) {
        self.endpoint.says(name, Reply::Raw(200, format!("{{\"value\":{value}}}")));
    }

    /// A source that reads that number.
    pub fn measured(&self, name: &str) -> serde_json::Value {
        json!({ "http": { "url": self.endpoint.url(name), "jsonPath": "$.value" } })
    }

    /// Waits until a ModelTrain has no more writes that follow from the present state; `polled` is the name at the
    /// endpoint that it polls every 5 s.
    ///
    /// A poll is planned by the reconcile of the response before it. So three polls without a write show that the
    /// first two responses caused none. An object that changed at the same time is polled at once, so the loop allows
    /// some more polls.
    pub async fn settle_train(&self, name: &str, polled: &str) {
        let (mut version, mut quiet) = (None, 0);
        for _ in 0..10 {
            let before = self.endpoint.polls(polled);
            self.clock.advance(Duration::from_secs(5));
            self.wait("a poll", async || (self.endpoint.polls(polled) > before).then_some(())).await;
            let now = self.model_trains().get(name).await.unwrap().resource_version();
            quiet = if now == version { quiet + 1 } else { 0 };
            version = now;
            if quiet == 3 {
                return;
            }
        }
        panic!("{name} is still being written");
    }

    /// Causes two reconciles of a ModelTrain that polls nothing, and waits for them. The first may have begun before
    /// the call; the second has not. Only for worlds with one object, where reconciles do not overlap.
    pub async fn reconcile_train(&self, name: &str) {
        for _ in 0..2 {
            let before = self.reconciles().await;
            self.annotate_train(name, "example.com/touch", Some(&before.to_string())).await;
            self.wait("a reconcile", async || (self.reconciles().await > before).then_some(())).await;
        }
    }

    /// Names and resourceVersions of a ModelTrain and of its records.
    pub async fn revisions(&self, name: &str) -> Vec<(String, Option<String>)> {
        let train = self.model_trains().get(name).await.unwrap();
        let versions = self.versions(name).await;
        let records = versions.iter().map(|version| (version.name_any(), version.resource_version()));
        [(name.to_owned(), train.resource_version())].into_iter().chain(records).collect()
    }

    /// Stops the operator and starts a new one with empty memory.
    pub async fn restart_operator(&mut self) {
        self.stop_operator().await;
        self.start_operator().await;
    }
}
