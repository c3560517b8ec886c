//! Layer 3: the command line. Parses, checks bounds, hands over. No IO but printing, and what `verify` reads.

mod controller;
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
    /// Prove that the records of trainings are complete and unchanged. Exit status: 0 they are, 1 they are not, 2 they
    /// could not be read.
    Verify(VerifyArgs),
}

/// Every CRD as one YAML stream; JSON is YAML.
pub fn crds() -> String {
    crate::api::crd::all().iter().fold(String::new(), |stream, crd| stream + &format!("---\n{crd:#}\n"))
}

fn namespace(text: &str) -> Result<String, String> {
    let valid = !text.is_empty()
        && text.len() <= 63
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    if valid { Ok(text.to_owned()) } else { Err("is not the name of a namespace".into()) }
}
