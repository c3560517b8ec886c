//! The operator's binary: parses the command line and hands over.

use std::process::ExitCode;

use clap::Parser;
use modelsync::{
    app,
    cli::{Cli, Command, crds},
    telemetry::log,
};

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Crds => {
            print!("{}", crds());
            ExitCode::SUCCESS
        }
        Command::Controller(args) => {
            if let Err(error) = log::init(&args.log, args.log_format) {
                eprintln!("modelsync: --log: {error}");
                return ExitCode::from(2);
            }
            match app::run(args.settings()).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("modelsync: {error}");
                    ExitCode::FAILURE
                }
            }
        }
    }
}
