//! The fields of a spec that say how runs are made, bounded, repeated and kept. A ModelSync and a ModelTrain have the
//! same ones. Wire types, no IO.
//!
//! A macro adds these fields to both specs. `#[serde(flatten)]` of one struct would buffer them whenever a spec is
//! parsed, and an error message about an invalid field would no longer name the field.

use kube::core::Duration;

use super::{retry::Retry, template::RunTemplate, window::Window};

/// The template fields of a spec by name, each with what the user set.
pub type Templates<'a> = [(&'static str, Option<&'a RunTemplate>)];

/// What a spec says about its runs, besides their templates.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunSpec<'a> {
    /// `interval`.
    pub interval: Option<Duration>,
    /// `successfulPipelineRunsHistoryLimit`.
    pub successful_limit: Option<i32>,
    /// `failedPipelineRunsHistoryLimit`.
    pub failed_limit: Option<i32>,
    /// `suspend`.
    pub suspend: Option<bool>,
    /// `runTimeout`.
    pub run_timeout: Option<Duration>,
    /// `retry`.
    pub retry: Option<&'a Retry>,
    /// `windows`.
    pub windows: &'a [Window],
}

/// Declares a spec: its own fields, and below them the fields of its runs. A new kind of run adds its template field here.
macro_rules! run_spec {
    ($(#[$($attribute:tt)*])* pub struct $name:ident { $($own:tt)* }) => {
        $(#[$($attribute)*])*
        #[x_kube(
            validation = Rule::new("has(self.pipelineRunTemplate) || has(self.jobTemplate)").message("spec.pipelineRunTemplate and spec.jobTemplate are both missing: set one of them to say what is to be run"),
            validation = Rule::new("!(has(self.pipelineRunTemplate) && has(self.jobTemplate))").message("spec.pipelineRunTemplate and spec.jobTemplate are both set: keep one of them"),
        )]
        pub struct $name {
            $($own)*

            /// Template of the Tekton PipelineRuns to create, in the form of `tekton.dev/v1`. The operator moves fields of
            /// `v1beta1` to their places in `v1`. Set either this or `jobTemplate`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub pipeline_run_template: Option<$crate::api::template::RunTemplate>,

            /// Template of the `batch/v1` Jobs to create. Containers get each parameter as the environment variable
            /// `PARAM_<NAME>`, and in place of `$(params.<name>)` in `command`, `args` and the values of `env`. Set either
            /// this or `pipelineRunTemplate`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub job_template: Option<$crate::api::template::RunTemplate>,

            /// Time between two polls. From 5s to 720h; default 1m.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(with = "Option<String>", length(max = 32))]
            #[x_kube(validation = $crate::api::rule::within("spec.interval", "30s, 5m or 1h30m", "5s", "720h"))]
            pub interval: Option<kube::core::Duration>,

            /// Number of succeeded runs to keep. The operator deletes the oldest ones beyond it. From 0 to 10000; default
            /// 100.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(range(min = 0, max = 10_000))]
            pub successful_pipeline_runs_history_limit: Option<i32>,

            /// Number of runs to keep that ended without success. The operator deletes the oldest ones beyond it. From 0 to
            /// 10000; default 100.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(range(min = 0, max = 10_000))]
            pub failed_pipeline_runs_history_limit: Option<i32>,

            /// If true, the operator neither polls nor starts runs. Active runs continue. Default false.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub suspend: Option<bool>,

            /// Maximum duration of a run, counted from its start. From 10s to 8760h. The operator writes it into the run if
            /// the template has no limit of its own, and stops a run that exceeds it. Without it, the run's own limit holds:
            /// one hour for a PipelineRun unless Tekton is configured otherwise, none for a Job.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(with = "Option<String>", length(max = 32))]
            #[x_kube(validation = $crate::api::rule::within("spec.runTimeout", "90s, 30m or 12h", "10s", "8760h"))]
            pub run_timeout: Option<kube::core::Duration>,

            /// When the operator tries again after a failed run, or after a training in which no run succeeded.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub retry: Option<Box<$crate::api::retry::Retry>>,

            /// Times at which runs may or may not start, at most 8. Default: runs may start at any time. Active runs continue
            /// when a window closes.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            #[schemars(length(max = 8))]
            pub windows: Vec<$crate::api::window::Window>,
        }

        impl $name {
            /// The template fields by name, each with what the user set.
            pub fn templates(&self) -> [(&'static str, Option<&$crate::api::template::RunTemplate>); 2] {
                [
                    ("pipelineRunTemplate", self.pipeline_run_template.as_ref()),
                    ("jobTemplate", self.job_template.as_ref()),
                ]
            }

            /// What the spec says about its runs, besides their templates.
            pub fn run(&self) -> $crate::api::run_spec::RunSpec<'_> {
                $crate::api::run_spec::RunSpec {
                    interval: self.interval,
                    successful_limit: self.successful_pipeline_runs_history_limit,
                    failed_limit: self.failed_pipeline_runs_history_limit,
                    suspend: self.suspend,
                    run_timeout: self.run_timeout,
                    retry: self.retry.as_deref(),
                    windows: &self.windows,
                }
            }
        }
    };
}

pub(super) use run_spec;
