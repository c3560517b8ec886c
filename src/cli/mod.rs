//! Layer 3: the command line. Parses flags and checks their bounds. No IO but printing, and the reads of `verify`.

mod controller;
mod namespace;
pub mod verify;

use clap::{Parser, Subcommand};

pub use self::{controller::ControllerArgs, verify::VerifyArgs};

/// Keeps machine-learning models fresh: starts exactly one run when desired and actual differ.
#[derive(Debug, Parser)]
#[command(name = "modelsync", version, about, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the controller, with the in-cluster account or KUBECONFIG.
    Controller(Box<ControllerArgs>),
    /// Print the CustomResourceDefinitions, ready for `kubectl apply -f -`.
    Crds,
    /// Prove that the records of trainings are complete and unchanged. Exit status: 0 if they are, 1 if they are not, 2
    /// if they could not be read.
    Verify(VerifyArgs),
}

/// Every CRD as one YAML stream; JSON is YAML.
pub fn crds() -> String {
    crate::api::crd::all().iter().fold(String::new(), |stream, crd| stream + &format!("---\n{crd:#}\n"))
}
