//! How the runs of an object are made, bounded, repeated and kept: the part of a spec that both kinds have. Pure.
//!
//! An object may be older than the schema, so nothing relies on the schema alone.

use std::{sync::Arc, time::Duration};

use super::{
    backend::{RunBackend, RunKind, Template},
    retention::{DEFAULT_LIMIT, HistoryLimits},
    template,
};
use crate::{
    api::{RunSpec, Templates},
    core::{
        invalid::Invalid,
        time::{
            backoff::{Backoff, MAX_ATTEMPTS, RUN_BACKOFF},
            bounds::{Bounds, backoff, duration},
            window::Windows,
        },
    },
};

/// Time between two polls where the user gave none.
const DEFAULT_INTERVAL: Duration = Duration::from_mins(1);
/// Shortest and longest time between two polls.
const INTERVALS: Bounds = (Duration::from_secs(5), Duration::from_hours(720));
/// Shortest and longest limit of a run.
const RUN_TIMEOUTS: Bounds = (Duration::from_secs(10), Duration::from_hours(8760));
/// Shortest and longest wait between runs.
pub const WAITS: Bounds = (Duration::from_secs(1), Duration::from_hours(720));

/// A valid policy. Later steps rely on it and check nothing again.
#[derive(Clone, Debug)]
pub struct RunPolicy<'a> {
    /// The template of its runs.
    pub template: Template<'a>,
    /// The backend that builds them.
    pub backend: &'static dyn RunBackend,
    /// Time between two polls.
    pub interval: Duration,
    /// How many finished runs are kept.
    pub limits: HistoryLimits,
    /// Whether polls and starts are suspended.
    pub suspended: bool,
    /// How long a run may take.
    pub run_timeout: Option<Duration>,
    /// How many attempts in a row may fail for one target.
    pub max_attempts: i64,
    /// Waits after failures.
    pub backoff: Backoff,
    /// When runs may start.
    pub windows: Arc<Windows>,
}

impl<'a> RunPolicy<'a> {
    /// Reads and checks everything but the windows, which are parsed once for each spec, and the template's content, which
    /// [`RunPolicy::check_template`] checks.
    pub fn parse(
        templates: &Templates<'a>,
        run: RunSpec<'_>,
        windows: Arc<Windows>,
        backends: &[&'static dyn RunBackend],
    ) -> Result<Self, Invalid> {
        let (template, backend) = template::find(templates, backends)?;
        let retry = run.retry.copied().unwrap_or_default();
        Ok(Self {
            template,
            backend,
            interval: duration("spec.interval", run.interval, INTERVALS)?.unwrap_or(DEFAULT_INTERVAL),
            limits: HistoryLimits {
                succeeded: limit(run.successful_limit, "spec.successfulPipelineRunsHistoryLimit")?,
                failed: limit(run.failed_limit, "spec.failedPipelineRunsHistoryLimit")?,
            },
            suspended: run.suspend.unwrap_or_default(),
            run_timeout: duration("spec.runTimeout", run.run_timeout, RUN_TIMEOUTS)?,
            max_attempts: max_attempts(retry.max_attempts)?,
            backoff: backoff(
                ("spec.retry.minBackoff", retry.min_backoff),
                ("spec.retry.maxBackoff", retry.max_backoff),
                WAITS,
                RUN_BACKOFF,
            )?,
            windows,
        })
    }

    /// The kind of the runs.
    pub fn kind(&self) -> RunKind {
        self.backend.kind()
    }

    /// Checks that runs can be built from the template with parameters of these names. It builds a run and drops it.
    pub fn check_template(&self, parameters: &[&str]) -> Result<(), Invalid> {
        self.backend.check(self.template, parameters, self.run_timeout)
    }

    /// Checks that the results of runs of the template can be read. `container` is `spec.metrics.container`.
    pub fn check_results(&self, container: Option<&str>) -> Result<(), Invalid> {
        self.backend.check_results(self.template, container)
    }
}

fn max_attempts(given: Option<i32>) -> Result<i64, Invalid> {
    match given {
        None => Ok(MAX_ATTEMPTS),
        Some(given) if (1..=1000).contains(&given) => Ok(given.into()),
        Some(_) => Err(Invalid::new("spec.retry.maxAttempts", "must be at least 1 and at most 1000")),
    }
}

fn limit(given: Option<i32>, field: &str) -> Result<usize, Invalid> {
    given.map_or(Ok(DEFAULT_LIMIT), |limit| {
        usize::try_from(limit).map_err(|_| Invalid::new(field, "must not be negative: use 0 to keep no run"))
    })
}
