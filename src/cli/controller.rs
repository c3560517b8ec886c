//! Flags of `modelsync controller`, each with an environment twin and a bound. No IO.

use std::{net::SocketAddr, time::Duration};

use clap::{ArgAction, Args};
use ipnet::IpNet;

use super::namespace;
use crate::{
    app::{Election, Settings},
    source::address::AddressRules,
    telemetry::log,
};

/// Flags of the controller.
#[derive(Debug, Args)]
pub struct ControllerArgs {
    /// Look after the objects of this namespace; may be repeated. Without it: of all namespaces.
    #[arg(long = "namespace", env = "MODELSYNC_NAMESPACE", value_name = "NS", value_delimiter = ',', value_parser = namespace)]
    pub namespaces: Vec<String>,

    /// Look after the objects with these labels only, so that a second copy can run beside the first.
    #[arg(long, env = "MODELSYNC_SELECTOR", value_name = "LABELS", default_value = "")]
    pub selector: String,

    /// Take turns with other replicas by a Lease: one leads, the others stand by with warm stores.
    #[arg(long, env = "MODELSYNC_LEADER_ELECT", default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub leader_elect: bool,

    /// Name of the Lease.
    #[arg(long, env = "MODELSYNC_LEASE_NAME", value_name = "NAME", default_value = "modelsync-controller")]
    pub lease_name: String,

    /// Namespace of the Lease; default: the operator's own.
    #[arg(long, env = "MODELSYNC_LEASE_NAMESPACE", value_name = "NS", value_parser = namespace)]
    pub lease_namespace: Option<String>,

    /// How long the Lease holds without being renewed: 3s to 5m.
    #[arg(long, env = "MODELSYNC_LEASE_DURATION", value_name = "DURATION", default_value = "15s", value_parser = between("3s", "5m"))]
    pub lease_duration: Duration,

    /// Address of /healthz, /readyz and /metrics.
    #[arg(long, env = "MODELSYNC_LISTEN", value_name = "ADDR", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,

    /// Address of the webhook receiver. Has no effect yet; off by default.
    #[arg(long, env = "MODELSYNC_RECEIVER_LISTEN", value_name = "ADDR")]
    pub receiver_listen: Option<SocketAddr>,

    /// Open a network for endpoints that is refused by default (loopback, link-local, metadata, the API server); may be
    /// repeated.
    #[arg(long = "allow-address", env = "MODELSYNC_ALLOW_ADDRESS", value_name = "CIDR", value_delimiter = ',')]
    pub allow_addresses: Vec<IpNet>,

    /// Refuse a network for endpoints, whatever else opens it; may be repeated.
    #[arg(long = "deny-address", env = "MODELSYNC_DENY_ADDRESS", value_name = "CIDR", value_delimiter = ',')]
    pub deny_addresses: Vec<IpNet>,

    /// DNS domain of this cluster: secrets may go to NAME.NAMESPACE.svc.DOMAIN without https.
    #[arg(long, env = "MODELSYNC_CLUSTER_DOMAIN", value_name = "DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,

    /// Minimum age of a finished run before the history limits may delete it: 0s to 24h; below 2m for tests only.
    #[arg(long, env = "MODELSYNC_MIN_RUN_AGE", value_name = "DURATION", default_value = "10m", value_parser = between("0s", "24h"))]
    pub min_run_age: Duration,

    /// Requests of questions under way at once: 1 to 4096.
    #[arg(long, env = "MODELSYNC_MAX_POLLS", value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub max_polls: u32,

    /// What is logged, as in info,modelsync=debug.
    #[arg(long, env = "MODELSYNC_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,

    /// Form of the log lines.
    #[arg(long, env = "MODELSYNC_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: log::Format,
}

impl ControllerArgs {
    /// What the composition root takes of them.
    pub fn settings(&self) -> Settings {
        Settings {
            namespaces: self.namespaces.clone(),
            selector: self.selector.clone(),
            listen: self.listen,
            addresses: AddressRules {
                allow: self.allow_addresses.clone(),
                deny: self.deny_addresses.clone(),
                api_server: Vec::new(),
            },
            cluster_domain: self.cluster_domain.clone(),
            min_run_age: self.min_run_age,
            max_polls: usize::try_from(self.max_polls).unwrap_or(usize::MAX),
            lease: self.leader_elect.then(|| Election {
                name: self.lease_name.clone(),
                namespace: self.lease_namespace.clone(),
                duration: self.lease_duration,
            }),
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed: kube::core::Duration =
        text.parse().map_err(|error| format!("{error}; write it as in 30s, 5m or 1h30m"))?;
    if parsed.is_negative() {
        return Err("a duration cannot be negative".into());
    }
    Ok(parsed.into())
}

/// A parser of durations from `least` to `most`.
fn between(
    least: &'static str,
    most: &'static str,
) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync + 'static {
    move |text| {
        let given = duration(text)?;
        if given < duration(least)? || given > duration(most)? {
            return Err(format!("must be from {least} to {most}"));
        }
        Ok(given)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};
    use super::*;

    fn parse(flags: &[&str]) -> Result<ControllerArgs, String> {
        let command = ["modelsync", "controller"].iter().chain(flags);
        match Cli::try_parse_from(command).map_err(|error| error.to_string())?.command {
            Command::Controller(args) => Ok(*args),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn takes_every_documented_flag() {
        let args = parse(&[
            "--namespace",
            "a",
            "--namespace=b",
            "--selector",
            "team=x",
            "--leader-elect=false",
            "--lease-name",
            "l",
            "--lease-namespace",
            "ns",
            "--lease-duration",
            "15s",
            "--listen",
            "127.0.0.1:0",
            "--receiver-listen",
            "127.0.0.1:1",
            "--allow-address",
            "127.0.0.0/8",
            "--deny-address",
            "10.0.0.0/8",
            "--cluster-domain",
            "c.local",
            "--min-run-age",
            "0s",
            "--max-polls",
            "7",
            "--log",
            "debug",
            "--log-format",
            "json",
        ])
        .unwrap();
        assert_eq!(
            (args.namespaces.len(), args.leader_elect, args.min_run_age, args.max_polls),
            (2, false, Duration::ZERO, 7)
        );
    }

    #[test]
    fn elects_a_leader_unless_told_otherwise() {
        assert!(parse(&[]).unwrap().leader_elect);
        assert!(parse(&["--leader-elect"]).unwrap().leader_elect);
    }

    #[test]
    fn names_the_flag_and_the_bound_of_a_bad_value() {
        for (flags, expected) in [
            (["--min-run-age", "25h"], "must be from 0s to 24h"),
            (["--min-run-age", "1d"], "write it as in 30s"),
            (["--min-run-age", "-1s"], "cannot be negative"),
            (["--lease-duration", "1s"], "must be from 3s to 5m"),
            (["--max-polls", "0"], "--max-polls"),
            (["--allow-address", "127.0.0.1"], "--allow-address"),
            (["--namespace", "A_b"], "is not the name of a namespace"),
            (["--listen", "8080"], "--listen"),
        ] {
            let error = parse(&[&format!("{}={}", flags[0], flags[1])]).unwrap_err();
            assert!(error.contains(expected) && error.contains(flags[0]), "{flags:?}: {error}");
        }
    }
}
