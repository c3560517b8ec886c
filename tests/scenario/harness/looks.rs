//! Time in a world of trainings: how a scenario lets it pass, and how it knows that nothing follows from that any more. IO.

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

    /// An hourly cron expression, and its next time: half an hour from now, so that none comes while a scenario looks.
    pub fn hourly(&self) -> (String, Timestamp) {
        let next = (self.clock.now().wall.as_second() + 30 * 60) / 60 * 60;
        (format!("{} * * * *", next / 60 % 60), Timestamp::from_second(next).unwrap())
    }

    /// Now, in whole seconds.
    pub fn now(&self) -> Timestamp {
        whole_seconds(self.clock.now().wall)
    }

    /// Under this name the endpoint gives this number, at `$.value`.
    pub fn measures(&self, name: &str, value: &str) {
        self.endpoint.says(name, Reply::Raw(200, format!("{{\"value\":{value}}}")));
    }

    /// A source that reads that number.
    pub fn measured(&self, name: &str) -> serde_json::Value {
        json!({ "http": { "url": self.endpoint.url(name), "jsonPath": "$.value" } })
    }

    /// Waits until whatever follows for a ModelTrain from the present state has followed; `asked` is what it asks the
    /// endpoint for every 5 s.
    ///
    /// A turn's question is planned by the pass over the answer before it, so that three of them without a write show that
    /// nothing is written because of the first two. An object that changed at the same time is asked about at once, whence
    /// some turns more.
    pub async fn settle_train(&self, name: &str, asked: &str) {
        let (mut version, mut quiet) = (None, 0);
        for _ in 0..10 {
            let before = self.endpoint.asked(asked);
            self.clock.advance(Duration::from_secs(5));
            self.wait("a question", async || (self.endpoint.asked(asked) > before).then_some(())).await;
            let now = self.model_trains().get(name).await.unwrap().resource_version();
            quiet = if now == version { quiet + 1 } else { 0 };
            version = now;
            if quiet == 3 {
                return;
            }
        }
        panic!("{name} is still being written");
    }

    /// Has a ModelTrain that asks nothing looked at: the second pass has begun after the first, and that after the call.
    /// For worlds with one object.
    pub async fn look_at_train(&self, name: &str) {
        for _ in 0..2 {
            let passes = self.passes().await;
            self.annotate_train(name, "example.com/look", Some(&passes.to_string())).await;
            self.wait("a pass", async || (self.passes().await > passes).then_some(())).await;
        }
    }

    /// Names and resourceVersions of a ModelTrain and of its records.
    pub async fn revisions(&self, name: &str) -> Vec<(String, Option<String>)> {
        let train = self.model_trains().get(name).await.unwrap();
        let versions = self.versions(name).await;
        let records = versions.iter().map(|version| (version.name_any(), version.resource_version()));
        [(name.to_owned(), train.resource_version())].into_iter().chain(records).collect()
    }

    /// Stops the operator, and starts one that knows nothing.
    pub async fn restart_operator(&mut self) {
        self.stop_operator().await;
        self.start_operator().await;
    }
}
