//! The faults of a storm, in the order that a seed gives: kills, pauses, wrong dates, lost and late replies, broken watches. IO.

use std::{collections::BTreeMap, time::Duration};

use jiff::SignedDuration;

use super::replica::Replica;
use crate::{
    harness::fault::{Call, Fault, Rule, call},
    support::dice::Dice,
};

/// The requests that meet faults.
fn calls() -> Vec<Call> {
    let reserve = |resource| call("patch", resource).saying(|body| body["status"]["reservation"].is_object());
    let close = |resource| call("patch", resource).saying(|body| body["status"]["reservation"].is_null());
    vec![
        reserve("modelsyncs/status"),
        reserve("modeltrains/status"),
        close("modelsyncs/status"),
        close("modeltrains/status"),
        call("create", "pipelineruns"),
        call("create", "pipelineruns"),
        call("get", "pipelineruns"),
        call("delete", "pipelineruns"),
        call("create", "modelversions"),
        call("patch", "modelversions/status"),
        call("create", "events"),
        call("update", "leases"),
        call("list", "pipelineruns"),
        call("list", "modelsyncs"),
        call("get", "modelsyncs"),
        call("get", "modeltrains"),
    ]
}

const OF_REQUESTS: [Fault; 14] = [
    Fault::Status(409),
    Fault::Status(429),
    Fault::Status(500),
    Fault::Status(503),
    Fault::Status(504),
    Fault::StatusAfter(500),
    Fault::StatusAfter(504),
    Fault::Reset,
    Fault::DropReply,
    Fault::DropReply,
    Fault::Truncate,
    Fault::Hang,
    Fault::Hold,
    Fault::HoldReply,
];

const OF_WATCHES: [Fault; 6] =
    [Fault::Cut, Fault::End, Fault::Gone, Fault::Silence, Fault::Status(410), Fault::Status(503)];

const WATCHED: [&str; 4] = ["modelsyncs", "modeltrains", "modelversions", "pipelineruns"];

/// Errors of a replica's date, in minutes.
const WRONG: [i64; 6] = [0, 0, 10, -10, 60, -60];

/// The weather over two replicas.
pub struct Weather {
    dice: Dice,
    pub replicas: [Replica; 2],
    /// How many faults of each sort there were.
    pub counts: BTreeMap<&'static str, usize>,
}

impl Weather {
    /// Starts the replicas.
    pub fn begin(seed: u64, replicas: [Replica; 2]) -> Self {
        let mut weather = Self { dice: Dice(seed), replicas, counts: BTreeMap::new() };
        weather.start(0);
        weather.start(1);
        weather
    }

    fn millis(&mut self, bound: usize) -> Duration {
        Duration::from_millis(self.dice.below(bound).try_into().unwrap())
    }

    fn count(&mut self, sort: &'static str) {
        *self.counts.entry(sort).or_default() += 1;
    }

    /// Starts a replica, sometimes with a wrong date. One in four takes part in no election: it always believes that it
    /// leads.
    fn start(&mut self, which: usize) {
        let minutes = *self.dice.pick(&WRONG);
        let elected = !self.dice.once_in(4);
        if minutes != 0 {
            self.count("wrong clocks");
        }
        if !elected {
            self.count("second leaders");
        }
        self.replicas[which].start(SignedDuration::from_mins(minutes), elected);
    }

    /// One fault, then a pause.
    pub async fn blow(&mut self) {
        for which in [0, 1] {
            if !self.replicas[which].runs() {
                self.start(which);
            }
        }
        let which = self.dice.below(2);
        match self.dice.below(14) {
            0 => self.kill(which).await,
            1 => self.kill_at_a_request(which).await,
            2 => {
                self.count("pauses");
                self.replicas[which].pause();
                let while_it_lasts = self.millis(6000);
                tokio::time::sleep(while_it_lasts).await;
                self.replicas[which].resume();
            }
            3 | 4 => {
                let watched = *self.dice.pick(&WATCHED);
                let watch = call("watch", watched);
                let fault = self.dice.pick(&OF_WATCHES).clone();
                self.count("faults of watches");
                self.meet(which, watch, fault);
            }
            _ => {
                let call = self.dice.pick(&calls()).clone();
                let fault = self.dice.pick(&OF_REQUESTS).clone();
                self.count("faults of requests");
                self.meet(which, call, fault);
            }
        }
        let pause = self.millis(1000);
        tokio::time::sleep(pause).await;
    }

    async fn kill(&mut self, which: usize) {
        self.count("kills");
        self.replicas[which].kill();
        let dead = self.millis(2000);
        tokio::time::sleep(dead).await;
        self.start(which);
    }

    /// Kills a replica right before or right after the API server executes one of its requests. The request arrives
    /// later, or its reply does.
    async fn kill_at_a_request(&mut self, which: usize) {
        let call = self.dice.pick(&calls()).clone();
        let fault = self.dice.pick(&[Fault::Hold, Fault::HoldReply]).clone();
        let rule = self.meet(which, call, fault);
        let met = async {
            while rule.hits() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(3), met).await.is_ok() {
            self.count("kills at a request");
            self.kill(which).await;
        }
    }

    /// Lets up to three of these requests meet the fault, for a while.
    fn meet(&mut self, which: usize, call: Call, fault: Fault) -> Rule {
        let times = 1 + self.dice.below(3);
        let rule = self.replicas[which].proxy.times(times, call, fault);
        let (over, ends) = (self.millis(8000), rule.clone());
        tokio::spawn(async move {
            tokio::time::sleep(over).await;
            ends.release();
        });
        rule
    }

    /// Ends every fault. One replica runs from then on, with a wrong date or a right one, and leads.
    pub fn clear(&mut self) {
        for replica in &mut self.replicas {
            replica.proxy.release();
            replica.kill();
        }
        let minutes = *self.dice.pick(&WRONG);
        self.replicas[0].start(SignedDuration::from_mins(minutes), false);
    }
}
