//! Layer 3: the command line. Parses, checks bounds, hands over. No IO but printing.

mod controller;

use clap::{Parser, Subcommand};

pub use controller::ControllerArgs;

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
}

/// Every CRD as one YAML stream; JSON is YAML.
pub fn crds() -> String {
    crate::api::crd::all().iter().fold(String::new(), |stream, crd| stream + &format!("---\n{crd:#}\n"))
}
