//! The configuration files of a level 2 cluster, made from the templates in `assets/`. Writes files.

use std::path::Path;

use anyhow::{Result, bail};

use super::control_plane::{CommandLine, NODE, NODE_ADDRESS, line, text};
use super::layout::Layout;
use super::{cgroup, image_names, packages};
use crate::files;

const DNS_ADDRESS: &str = "10.96.0.10";
const PODS: &str = "10.244.0.0/24";

/// Writes the files that containerd, kubelet and kube-proxy read.
pub(crate) fn write(layout: &Layout) -> Result<()> {
    let dir = text(&layout.dir);
    let image_store = text(&layout.image_store().join("root"));
    let plugins = text(&packages::network_plugins()?);
    let cgroup = cgroup::name(layout);
    let values = [
        ("dir", dir.as_str()),
        ("image_store", &image_store),
        ("network_plugins", &plugins),
        ("cgroup", &cgroup),
        ("pause", image_names::PAUSE),
        ("pods", PODS),
        ("dns", DNS_ADDRESS),
        ("node", NODE),
        ("node_address", NODE_ADDRESS),
    ];
    for (file, template) in [
        ("containerd.toml", include_str!("../../assets/containerd.toml")),
        ("cni/10-pods.conflist", include_str!("../../assets/cni.json")),
        ("kubelet.yaml", include_str!("../../assets/kubelet.yaml")),
        ("kube-proxy.yaml", include_str!("../../assets/kube-proxy.yaml")),
        ("resolv.conf", ""),
    ] {
        files::write(&layout.dir.join(file), fill(template, &values)?)?;
    }
    for folder in ["var-lib", "var-log", "volume-plugins", "containerd"] {
        files::make_dir(&layout.dir.join(folder))?;
    }
    Ok(())
}

/// The YAML of the cluster's DNS server.
pub(crate) fn dns() -> Result<String> {
    let values = [("image", image_names::COREDNS), ("dns", DNS_ADDRESS)];
    fill(include_str!("../../assets/coredns.yaml"), &values)
}

/// The YAML of runs that show whether Tekton admits runs.
pub(crate) fn tekton_probe() -> Result<String> {
    let values = [("image", image_names::BUSYBOX)];
    fill(include_str!("../../assets/tekton-probe.yaml"), &values)
}

/// Containerd's command line.
pub(crate) fn containerd(layout: &Layout) -> CommandLine {
    let config = layout.dir.join("containerd.toml");
    vec!["containerd".into(), "--config".into(), text(&config)]
}

/// The scheduler's command line.
pub(crate) fn scheduler(layout: &Layout) -> CommandLine {
    let kubeconfig = text(&layout.pki("kube-scheduler.kubeconfig"));
    line(
        &layout.bin().join("kube-scheduler"),
        [("kubeconfig", kubeconfig), ("secure-port", "0".into()), ("leader-elect", "false".into())],
    )
}

/// Kubelet's command line.
pub(crate) fn kubelet(layout: &Layout) -> CommandLine {
    line(
        &layout.bin().join("kubelet"),
        [
            ("config", text(&layout.dir.join("kubelet.yaml"))),
            ("kubeconfig", text(&layout.pki("kubelet.kubeconfig"))),
            ("cert-dir", text(&layout.pki("kubelet"))),
            ("hostname-override", NODE.into()),
            ("node-ip", NODE_ADDRESS.into()),
            ("v", "2".into()),
        ],
    )
}

/// Kube-proxy's command line.
pub(crate) fn kube_proxy(layout: &Layout) -> CommandLine {
    let config = text(&layout.dir.join("kube-proxy.yaml"));
    line(&layout.bin().join("kube-proxy"), [("config", config)])
}

/// Replaces each `{name}` by its value. Leaves other braces unchanged.
fn fill(template: &str, values: &[(&str, &str)]) -> Result<String> {
    let mut filled = template.to_owned();
    for (name, value) in values {
        if value.contains('"') || value.contains('\\') || value.contains('\n') {
            bail!("{value:?} cannot be written into a configuration file; use another folder");
        }
        filled = filled.replace(&format!("{{{name}}}"), value);
    }
    Ok(filled)
}

/// Whether one of the cluster's mounts would hide the path.
pub(crate) fn is_hidden(path: &Path) -> bool {
    HIDDEN.iter().any(|dir| path.starts_with(dir))
}

/// The machine's folders that the cluster covers with its own.
pub(crate) const HIDDEN: [&str; 3] = ["/run", "/var/lib", "/var/log"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_placeholders_are_filled() {
        let filled = fill("a: {x: {dir}}, b: {enabled: false}", &[("dir", "/d")]).unwrap();
        assert_eq!(filled, "a: {x: /d}, b: {enabled: false}");
        assert!(fill("{dir}", &[("dir", "a\"b")]).is_err());
    }

    #[test]
    fn templates_have_no_unfilled_placeholder() {
        for text in [dns().unwrap(), tekton_probe().unwrap()] {
            assert!(!text.contains("{image}") && !text.contains("{dns}"), "{text}");
        }
    }

    #[test]
    fn folders_below_the_clusters_own_mounts_are_hidden() {
        assert!(is_hidden(Path::new("/var/lib/ci/target")));
        assert!(!is_hidden(Path::new("/home/me/target")));
        assert!(!is_hidden(Path::new("/runner/target")));
    }
}
