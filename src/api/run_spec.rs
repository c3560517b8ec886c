//! The fields of a spec that say how runs are made, bounded, repeated and kept. A ModelSync and a ModelTrain have the
//! same ones. Wire types, no IO.
//!
//! A macro adds these fields to both specs. `#[serde(flatten)]` of one struct would buffer them whenever a spec is
//! parsed, and an error message about an invalid field would no longer name the field.

use kube::core::{Duration, Rule};

use super::{retry::Retry, source::listed, template::RunTemplate};

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
}

/// Passes the template fields of a spec to the macro `$each`: the docs of each, its field and its name on the wire. A new
/// kind of run adds its lines here.
macro_rules! each_template {
    ($each:ident { $($rest:tt)* }) => {
        $crate::api::run_spec::$each! {
            {
                /// Template of the Tekton PipelineRuns to create, in the form of `tekton.dev/v1`. The operator moves fields of
                /// `v1beta1` to their places in `v1`. Set either this or `jobTemplate`.
                pipeline_run_template "pipelineRunTemplate",

                /// Template of the `batch/v1` Jobs to create. Containers get each parameter as the environment variable
                /// `PARAM_<NAME>`, and in place of `$(params.<name>)` in `command`, `args`, the values of `env` and other texts
                /// that may differ from run to run. Set either this or `pipelineRunTemplate`.
                job_template "jobTemplate",
            }
            $($rest)*
        }
    };
}

macro_rules! declare_fields {
    ({ $($(#[$attribute:meta])* $field:ident $name:literal,)+ }) => {
        /// The template fields of a spec, by their names on the wire.
        pub const TEMPLATE_FIELDS: &[&str] = &[$($name),+];
    };
}

/// Declares a spec: its own fields, and below them the fields of its runs.
macro_rules! run_spec {
    ($($spec:tt)*) => {
        $crate::api::run_spec::each_template! { declare_spec { $($spec)* } }
    };
}

macro_rules! declare_spec {
    (
        { $($(#[$template_attribute:meta])* $field:ident $field_name:literal,)+ }
        $(#[$($attribute:tt)*])* pub struct $name:ident { $($own:tt)* }
    ) => {
        $(#[$($attribute)*])*
        #[x_kube(
            validation = $crate::api::run_spec::some_template(),
            validation = $crate::api::run_spec::one_template(),
        )]
        pub struct $name {
            $($own)*

            $(
                $(#[$template_attribute])*
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $field: Option<$crate::api::template::RunTemplate>,
            )+

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
            pub fn templates(
                &self,
            ) -> [(&'static str, Option<&$crate::api::template::RunTemplate>); $crate::api::run_spec::TEMPLATE_FIELDS.len()]
            {
                [$(($field_name, self.$field.as_ref())),+]
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
                }
            }
        }
    };
}

pub(super) use {declare_fields, declare_spec, each_template, run_spec};

each_template! { declare_fields {} }

/// The rule that a template is set.
pub(super) fn some_template() -> Rule {
    let set: Vec<_> = TEMPLATE_FIELDS.iter().map(|field| format!("has(self.{field})")).collect();
    let message = format!("{} missing: set one of them to say what is to be run", together());
    Rule::new(set.join(" || ")).message(message.as_str())
}

/// The rule that no two templates are set.
pub(super) fn one_template() -> Rule {
    let after = |index: usize| TEMPLATE_FIELDS.iter().skip(index + 1);
    let pairs = TEMPLATE_FIELDS.iter().enumerate().flat_map(|(index, one)| after(index).map(move |two| (one, two)));
    let apart: Vec<_> = pairs.map(|(one, two)| format!("!(has(self.{one}) && has(self.{two}))")).collect();
    Rule::new(apart.join(" && ")).message(format!("{} set: keep one of them", together()).as_str())
}

/// Names all template fields, as in `spec.a and spec.b are both`.
fn together() -> String {
    let paths: Vec<_> = TEMPLATE_FIELDS.iter().map(|field| format!("spec.{field}")).collect();
    let paths: Vec<_> = paths.iter().map(String::as_str).collect();
    format!("{} are {}", listed(&paths), if paths.len() == 2 { "both" } else { "all" })
}
