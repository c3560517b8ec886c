//! `cargo xtask cluster`: the command line, and what each command calls. The rest of the folder:
//!
//! - `layout`, `state`: the cluster's folder, and what is written there.
//! - `up`, `level_1`, `level_2`, `down`, `status`, `enter`: the commands.
//! - `control_plane`, `pki`, `ports`, `tekton`, `images`, `cgroup`, `packages`: their parts.
//! - `daemon`, `node`: what runs as processes of their own; `kubectl`, `wait`: talking to them.

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
  export KUBECONFIG=$(cargo xtask cluster kubeconfig)     # level 1: kubectl works as it is
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
    /// Bring a cluster up and return when it can be used.
    ///
    /// A cluster that is up already is left as it is; the remains of one that broke are removed.
    Up {
        #[command(flatten)]
        name: Name,
        /// How much of a cluster.
        #[arg(long, default_value = "1")]
        level: Level,
        /// Do not install Tekton. What would be installed is in target/cluster/NAME/tekton-crds.yaml.
        #[arg(long)]
        without_tekton: bool,
        /// Level 1: install the CRDs of this kustomization too, before the controller manager starts, which looks for new
        /// kinds only every 30 s.
        #[arg(long)]
        crds: Option<PathBuf>,
        /// When it does not come up, leave it as it is for a look at it.
        #[arg(long)]
        retain: bool,
    },
    /// End a cluster and leave nothing of it running; its logs and imported images are kept.
    Down {
        #[command(flatten)]
        name: Name,
        /// Every cluster of this workspace.
        #[arg(long, conflicts_with = "name")]
        all: bool,
        /// Drop logs and imported images, too.
        #[arg(long)]
        purge: bool,
    },
    /// Say what runs and what is missing; succeeds only if the cluster is ready.
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
        /// Archives as `cargo xtask image` and `docker save` write them.
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
    /// Record this process and become the given program.
    Daemon {
        #[arg(long)]
        record: PathBuf,
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Be the first process of a level 2 cluster.
    Node {
        #[arg(long)]
        name: String,
    },
}

/// Runs one command of the command line.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    match args.action {
        Action::Up { name, level, without_tekton, crds, retain } => {
            let wish = up::Wish { level, tekton: !without_tekton, crds, retain };
            up::up(&Layout::of(&name.name)?, &wish)?;
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
            let status = status::look(&layout)?;
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

/// Runs what `cluster` starts as a process of its own.
pub(crate) fn run_internal(args: InternalArgs) -> Result<ExitCode> {
    match args.action {
        InternalAction::Daemon { record, command } => daemon::become_daemon(&record, &command)?,
        InternalAction::Node { name } => node::run(&Layout::of(&name)?)?,
    }
    Ok(ExitCode::SUCCESS)
}
