//! `cargo xtask image`: the operator's image. Runs cargo, writes an archive.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use super::Image;
use crate::workspace;

const BINARY: &str = "modelsync";
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to write the archive. Default: target/image/modelsync.tar.
    #[arg(long)]
    output: Option<PathBuf>,
    /// Name and tag of the image.
    #[arg(long, default_value = "modelsync.local/modelsync:dev")]
    tag: String,
    /// Use this program instead of building the operator.
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// Builds the program if none is given, and writes the image.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let output = match &args.output {
        Some(output) => output.clone(),
        None => workspace::target_dir()?.join("image/modelsync.tar"),
    };
    let mut image = Image::new(&args.tag, "65532:65532")?;
    let binary = match &args.binary {
        Some(binary) => binary.clone(),
        None => build()?,
    };
    image.program(&binary, "/modelsync")?;
    image.dir("/home/nonroot");
    let authorities = Path::new(AUTHORITIES);
    if authorities.is_file() {
        image.file(authorities, AUTHORITIES, 0o644);
        image.env(&["PATH=/", &format!("SSL_CERT_FILE={AUTHORITIES}")]);
    } else {
        eprintln!("note: {AUTHORITIES} does not exist, so the image trusts no certificate authority");
    }
    image.entrypoint(&["/modelsync"]);
    image.write(&output)?;
    println!("{} in {}", args.tag, output.display());
    Ok(ExitCode::SUCCESS)
}

fn build() -> Result<PathBuf> {
    let status = workspace::cargo()
        .args(["build", "--release", "--locked", "--bin", BINARY])
        .env("CARGO_TARGET_DIR", workspace::target_dir()?)
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("the release build of {BINARY} failed; cargo's output is above");
    }
    Ok(workspace::target_dir()?.join("release").join(BINARY))
}
