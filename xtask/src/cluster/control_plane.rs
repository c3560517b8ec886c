//! The command lines of etcd, the API server and the controller manager. The two levels differ in addresses and in the
//! settings for a node. Pure.

use std::path::Path;

use super::layout::Layout;
use super::state::{Level, Ports};

/// The node's name at level 2.
pub(crate) const NODE: &str = "modelsync-node";
/// The node's address inside the cluster's network namespace.
pub(crate) const NODE_ADDRESS: &str = "10.201.0.1";
/// The addresses of Services at level 2.
pub(crate) const NODE_SERVICES: &str = "10.96.0.0/16";
/// The ports at level 2, where each cluster has a network namespace of its own.
pub(crate) const NODE_PORTS: Ports = Ports { api: 6443, etcd_client: 2379, etcd_peer: 2380 };

/// The level and the ports of a control plane.
#[derive(Clone, Debug)]
pub(crate) struct ControlPlane {
    level: Level,
    ports: Ports,
}

/// A program and its arguments.
pub(crate) type CommandLine = Vec<String>;

impl ControlPlane {
    pub(crate) fn new(level: Level, ports: Ports) -> Self {
        Self { level, ports }
    }

    /// The port on which etcd serves the API server.
    pub(crate) fn etcd_port(&self) -> u16 {
        self.ports.etcd_client
    }

    /// The URL of the API server.
    pub(crate) fn server(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.api)
    }

    /// The address range of Services. On loopback it is made from the API server's port, so that each cluster has its own.
    pub(crate) fn services(&self) -> String {
        match self.level {
            Level::Node => NODE_SERVICES.to_owned(),
            Level::ControlPlane => {
                let [high, low] = self.ports.api.to_be_bytes();
                format!("127.{high}.{low}.0/24")
            }
        }
    }

    /// The address of the Service `kubernetes`, the first of the range.
    pub(crate) fn first_service(&self) -> String {
        let services = self.services();
        let (range, _) = services.split_once('/').unwrap_or((&services, ""));
        format!("{}.1", range.strip_suffix(".0").unwrap_or(range))
    }

    /// etcd. Its data need not survive a crash of the machine, so it never waits for the disk.
    pub(crate) fn etcd(&self, layout: &Layout) -> CommandLine {
        let client = format!("http://127.0.0.1:{}", self.ports.etcd_client);
        let peer = format!("http://127.0.0.1:{}", self.ports.etcd_peer);
        line(
            &layout.bin().join("etcd"),
            [
                ("data-dir", text(&layout.dir.join("etcd"))),
                ("listen-client-urls", client.clone()),
                ("advertise-client-urls", client),
                ("listen-peer-urls", peer.clone()),
                ("initial-advertise-peer-urls", peer.clone()),
                ("initial-cluster", format!("default={peer}")),
                ("unsafe-no-fsync", "true".into()),
            ],
        )
    }

    /// The API server, with an audit log of all requests.
    pub(crate) fn api_server(&self, layout: &Layout) -> CommandLine {
        let pki = |file: &str| text(&layout.pki(file));
        let mut arguments = vec![
            ("etcd-servers", format!("http://127.0.0.1:{}", self.ports.etcd_client)),
            ("secure-port", self.ports.api.to_string()),
            ("service-cluster-ip-range", self.services()),
            ("tls-cert-file", pki("apiserver.crt")),
            ("tls-private-key-file", pki("apiserver.key")),
            ("client-ca-file", pki("ca.crt")),
            ("token-auth-file", pki("tokens.csv")),
            ("service-account-issuer", "https://kubernetes.default.svc.cluster.local".into()),
            ("service-account-signing-key-file", pki("sa.key")),
            ("service-account-key-file", pki("sa.pub")),
            ("audit-policy-file", text(&layout.dir.join("audit-policy.yaml"))),
            ("audit-log-path", text(&layout.log("audit"))),
            ("audit-log-maxsize", "4096".into()),
            ("allow-privileged", "true".into()),
            ("profiling", "false".into()),
            // Otherwise it decodes every object twice every five minutes, to compare its cache with etcd. With ten thousand
            // objects that takes both cores of a small machine for a second. Clients see no difference.
            ("feature-gates", "DetectCacheInconsistency=false".into()),
        ];
        match self.level {
            // Everything is on loopback. The API server must not write its address into an Endpoints object, where loopback
            // addresses are not allowed.
            Level::ControlPlane => arguments.extend([
                ("bind-address", "127.0.0.1".into()),
                ("advertise-address", "127.0.0.1".into()),
                ("endpoint-reconciler-type", "none".into()),
                ("authorization-mode", "RBAC".into()),
            ]),
            Level::Node => arguments.extend([
                ("bind-address", "0.0.0.0".into()),
                ("advertise-address", NODE_ADDRESS.into()),
                ("authorization-mode", "Node,RBAC".into()),
                ("enable-admission-plugins", "NodeRestriction".into()),
                ("kubelet-client-certificate", pki("kubelet-client.crt")),
                ("kubelet-client-key", pki("kubelet-client.key")),
                ("kubelet-certificate-authority", pki("ca.crt")),
                ("kubelet-preferred-address-types", "InternalIP".into()),
            ]),
        }
        line(&layout.bin().join("kube-apiserver"), arguments)
    }

    /// The controller manager. With its default rate limits, every start would take seconds longer.
    pub(crate) fn controller_manager(layout: &Layout) -> CommandLine {
        let pki = |file: &str| text(&layout.pki(file));
        line(
            &layout.bin().join("kube-controller-manager"),
            [
                ("kubeconfig", pki("kube-controller-manager.kubeconfig")),
                ("secure-port", "0".into()),
                ("leader-elect", "false".into()),
                ("use-service-account-credentials", "true".into()),
                ("service-account-private-key-file", pki("sa.key")),
                ("root-ca-file", pki("ca.crt")),
                ("cluster-signing-cert-file", pki("ca.crt")),
                ("cluster-signing-key-file", pki("ca.key")),
                ("allocate-node-cidrs", "false".into()),
                ("kube-api-qps", "300".into()),
                ("kube-api-burst", "600".into()),
            ],
        )
    }
}

/// A command line of `--name=value` arguments.
pub(crate) fn line<'a>(program: &Path, arguments: impl IntoIterator<Item = (&'a str, String)>) -> CommandLine {
    let mut line = vec![text(program)];
    line.extend(arguments.into_iter().map(|(name, value)| format!("--{name}={value}")));
    line
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_port_makes_a_service_range_on_loopback_of_its_own() {
        let at = |api| {
            let ports = Ports { api, ..NODE_PORTS };
            ControlPlane::new(Level::ControlPlane, ports)
        };
        assert_eq!(at(20_000).services(), "127.78.32.0/24");
        assert_eq!(at(20_000).first_service(), "127.78.32.1");
        assert_ne!(at(20_003).services(), at(20_000).services());
    }

    #[test]
    fn the_first_service_of_a_node() {
        let node = ControlPlane::new(Level::Node, NODE_PORTS);
        assert_eq!(node.first_service(), "10.96.0.1");
    }
}
