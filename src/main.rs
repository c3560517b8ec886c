//! The operator's binary: parses the command line and hands over.

use std::process::ExitCode;

use clap::Parser;
use modelsync::{
    app,
    cli::{Cli, Command, crds, verify},
    telemetry::log,
};
use tikv_jemallocator::Jemalloc;

/// A start of thousands of runs leaves holes that the system's allocator keeps; this one gives them back within seconds. Its
/// options stand in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Crds => {
            print!("{}", crds());
            ExitCode::SUCCESS
        }
        Command::Verify(args) => match verify::run(&args).await {
            Ok(verified) => {
                print!("{}", verified.text);
                if verified.whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }
            }
            Err(error) => {
                eprintln!("modelsync verify: {error}");
                ExitCode::from(2)
            }
        },
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
