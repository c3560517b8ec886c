//! `cluster up`: the steps before and after those of the two levels. Does IO.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::control_plane::{ControlPlane, NODE, NODE_ADDRESS, NODE_PORTS};
use super::down::{self, Keep};
use super::kubectl::Inside;
use super::layout::Layout;
use super::state::{Level, Ports, State};
use super::step::Up;
use super::tekton::Source;
use super::{images, level_1, level_2, packages, pki, ports, status};
use crate::binaries::{self, pins};
use crate::files;
use crate::lock::Lock;
use crate::progress::Progress;

/// The cluster that the user requests.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) level: Level,
    /// Install Tekton (level 1: its CRDs).
    pub(crate) tekton: bool,
    /// A kustomization of more CRDs to install (level 1).
    pub(crate) crds: Option<PathBuf>,
    /// Leave a cluster that failed to come up as it is, for inspection.
    pub(crate) retain: bool,
}

/// Brings the cluster up. Leaves a healthy one alone; removes the remains of a broken one first.
pub(crate) fn up(layout: &Layout, request: &Request) -> Result<()> {
    let progress = Progress::start();
    if request.level == Level::Node && request.crds.is_some() {
        bail!("--crds is for level 1; at level 2 apply them once the cluster is up");
    }
    let lock = Lock::take(&layout.lock(), "bringing this cluster up or down")?;
    if request.level == Level::Node {
        level_2::check_machine(layout)?;
    }
    if let Some(state) = already_up(layout, request)? {
        return finish_running(layout, request, &state, &progress);
    }
    progress.step("clean");
    down::clean(layout, Keep::ImageStore)?;
    let started = start(layout, request, &lock, &progress);
    if started.is_err() && !request.retain {
        down::clean(layout, Keep::Logs).context("and the parts that had come up could not be removed")?;
    }
    started.with_context(|| match layout.logs() {
        logs if logs.exists() => format!("cluster {:?} did not come up; logs: {}", layout.name, logs.display()),
        _ => format!("cluster {:?} did not come up", layout.name),
    })
}

fn already_up(layout: &Layout, request: &Request) -> Result<Option<State>> {
    // A damaged state means that the cluster is broken: the caller cleans it up.
    let Ok(Some(state)) = State::read(layout) else {
        return Ok(None);
    };
    if !status::inspect(layout)?.is_ready() {
        return Ok(None);
    }
    if state.level != request.level {
        bail!(
            "cluster {:?} is up at level {}: run `cargo xtask cluster down --name {}` first, or choose \
             another --name",
            layout.name,
            state.level.number(),
            layout.name
        );
    }
    Ok(Some(state))
}

/// Installs Tekton and more CRDs into a running cluster that was started without them.
fn finish_running(layout: &Layout, request: &Request, state: &State, progress: &Progress) -> Result<()> {
    if request.tekton && !state.tekton {
        progress.step("tekton");
        let inside = Inside::of(layout)?;
        match state.level {
            Level::ControlPlane => level_1::apply_tekton_crds(layout, &inside)?,
            Level::Node => level_2::install_tekton(layout, &inside)?,
        }
        State { tekton: true, ..state.clone() }.write(layout)?;
    }
    if let Some(crds) = &request.crds {
        level_1::apply_crds(crds, &Inside::of(layout)?)?;
    }
    progress.say(&format!("cluster {:?} is up already", layout.name));
    Ok(())
}

fn start(layout: &Layout, request: &Request, lock: &Lock, progress: &Progress) -> Result<()> {
    if request.level == Level::Node {
        progress.step("packages");
        packages::ensure(progress)?;
    }
    progress.step("binaries");
    let programs = match request.level {
        Level::ControlPlane => pins::LEVEL_1.to_vec(),
        Level::Node => pins::level_2(),
    };
    binaries::ensure(&layout.bin(), &programs, progress)?;
    let tekton = Source::find()?;
    let mut archives = Vec::new();
    if request.level == Level::Node {
        progress.step("images");
        archives = images::ensure(layout, &tekton)?;
    }

    progress.step("config");
    let mut state = State { level: request.level, ports: NODE_PORTS, ready: false, tekton: request.tekton };
    if request.level == Level::ControlPlane {
        let _one_choice = Lock::take(&layout.ports_lock(), "choosing ports")?;
        state.ports = ports::pick(layout)?;
        state.write(layout)?;
    } else {
        state.write(layout)?;
    }
    let plane = configure(layout, request.level, state.ports)?;
    files::write(&layout.tekton_crds(), tekton.crds()?)?;
    files::write(&layout.tekton(), tekton.install()?)?;

    let mut up = Up { layout, lock, progress, plane, daemons: Vec::new() };
    match request.level {
        Level::ControlPlane => level_1::start(&mut up, request.tekton, request.crds.as_deref())?,
        Level::Node => level_2::start(&mut up, &archives, request.tekton)?,
    }
    state.ready = true;
    state.write(layout)?;
    progress.say(&format!(
        "ready: cluster {:?} at level {}, KUBECONFIG={}",
        layout.name,
        request.level.number(),
        layout.kubeconfig().display()
    ));
    Ok(())
}

fn configure(layout: &Layout, level: Level, ports: Ports) -> Result<ControlPlane> {
    let plane = ControlPlane::new(level, ports);
    files::make_dir(&layout.logs())?;
    files::write(&layout.dir.join("audit-policy.yaml"), include_str!("../../assets/audit-policy.yaml"))?;
    let names = pki::Names {
        node: (level == Level::Node).then_some((NODE, NODE_ADDRESS)),
        service_address: &plane.first_service(),
        server: &plane.server(),
    };
    pki::write(layout, &names)?;
    Ok(plane)
}
