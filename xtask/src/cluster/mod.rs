//! `cargo xtask cluster`: the command line and its dispatch. The rest of the folder:
//!
//! - `layout`, `state`: the cluster's folder and the files in it.
//! - `up`, `level_1`, `level_2`, `step`, `down`, `status`, `enter`: the commands.
//! - `control_plane`, `node_config`, `pki`, `ports`, `tekton`, `images`, `image_names`, `cgroup`, `packages`: their parts.
//! - `daemon`, `node`: processes of their own. `kubectl`, `wait`: talking to them and waiting for them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use down::Keep;
use layout::Layout;
use state::{Level, State};

mod cgroup;
mod control_plane;
mod daemon;
mod down;
mod enter;
mod image_names;
mod images;
mod kubectl;
mod layout;
mod level_1;
mod level_2;
mod node;
mod node_config;
mod packages;
mod pki;
mod ports;
mod state;
mod status;
mod step;
mod tekton;
mod up;
mod wait;

const EXAMPLES: &str = "\
Examples:
  cargo xtask cluster up
  cargo xtask cluster exec -- kubectl get crds
  export KUBECONFIG=$(cargo xtask cluster kubeconfig)     # level 1: any kubectl works
  cargo xtask cluster down

  cargo xtask cluster up --level 2 --name node            # as root
  cargo xtask image
  cargo xtask cluster load --name node target/image/modelsync.tar
  cargo xtask cluster exec --name node -- bash            # a shell in the cluster's network
  cargo xtask cluster down --all";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Args)]
struct Name {
    /// The cluster's name.
    #[arg(long, default_value = "default")]
    name: String,
}

#[derive(Subcommand)]
enum Action {
    /// Bring a cluster up and return when it is ready.
    ///
    /// A cluster that is up already is left alone; the remains of a broken one are removed.
    Up {
        #[command(flatten)]
        name: Name,
        /// Size of the cluster.
        #[arg(long, default_value = "1")]
        level: Level,
        /// Do not install Tekton. Its CRDs are written to target/cluster/NAME/tekton-crds.yaml.
        #[arg(long)]
        without_tekton: bool,
        /// Level 1 only: also install the CRDs of this kustomization, before the controller manager starts. Once it runs, it
        /// looks for new kinds only every 30 s.
        #[arg(long)]
        crds: Option<PathBuf>,
        /// Leave a cluster that fails to come up as it is, for inspection.
        #[arg(long)]
        retain: bool,
    },
    /// Stop all processes of a cluster. Its logs and imported images are kept.
    Down {
        #[command(flatten)]
        name: Name,
        /// Every cluster of this workspace.
        #[arg(long, conflicts_with = "name")]
        all: bool,
        /// Remove logs and imported images, too.
        #[arg(long)]
        purge: bool,
    },
    /// Print what runs and what is missing. Succeeds only if the cluster is ready.
    Status {
        #[command(flatten)]
        name: Name,
    },
    /// Run a program in the cluster's network, with KUBECONFIG set and kubectl in PATH.
    Exec {
        #[command(flatten)]
        name: Name,
        /// The program and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    /// Print the path of the administrator's kubeconfig.
    Kubeconfig {
        #[command(flatten)]
        name: Name,
    },
    /// Import image archives into a level 2 cluster.
    Load {
        #[command(flatten)]
        name: Name,
        /// Archives that `cargo xtask image` or `docker save` wrote.
        #[arg(required = true)]
        archives: Vec<PathBuf>,
    },
}

#[derive(clap::Args)]
pub(crate) struct InternalArgs {
    #[command(subcommand)]
    action: InternalAction,
}

#[derive(Subcommand)]
enum InternalAction {
    /// Record this process, then become the given program.
    Daemon {
        #[arg(long)]
        record: PathBuf,
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Become the first process of a level 2 cluster.
    Node {
        #[arg(long)]
        name: String,
    },
}

/// Runs one command of the command line.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    match args.action {
        Action::Up { name, level, without_tekton, crds, retain } => {
            let request = up::Request { level, tekton: !without_tekton, crds, retain };
            up::up(&Layout::of(&name.name)?, &request)?;
        }
        Action::Down { name, all, purge } => {
            let keep = if purge { Keep::Nothing } else { Keep::Logs };
            let names = if all { down::all()? } else { vec![name.name] };
            for name in names {
                down::down(&Layout::of(&name)?, keep)?;
                println!("cluster {name:?} is down");
            }
        }
        Action::Status { name } => {
            let layout = Layout::of(&name.name)?;
            let status = status::inspect(&layout)?;
            status.print(&layout);
            if !status.is_ready() {
                return Ok(ExitCode::FAILURE);
            }
        }
        Action::Exec { name, command } => return enter::exec(&Layout::of(&name.name)?, &command),
        Action::Kubeconfig { name } => {
            let layout = Layout::of(&name.name)?;
            State::of_running(&layout)?;
            println!("{}", layout.kubeconfig().display());
        }
        Action::Load { name, archives } => level_2::load(&Layout::of(&name.name)?, &archives)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs an internal command, in a process that `cluster` started.
pub(crate) fn run_internal(args: InternalArgs) -> Result<ExitCode> {
    match args.action {
        InternalAction::Daemon { record, command } => daemon::become_daemon(&record, &command)?,
        InternalAction::Node { name } => node::run(&Layout::of(&name)?)?,
    }
    Ok(ExitCode::SUCCESS)
}
