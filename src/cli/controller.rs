//! Flags of `modelsync controller`, each with an environment twin and a bound. No IO.

use std::{net::SocketAddr, time::Duration};

use clap::{ArgAction, Args, builder::FalseyValueParser};
use ipnet::IpNet;

use super::namespace::namespace;
use crate::{
    app::{ElectionSettings, Settings},
    lineage::settings::{ApiKey, LineageSettings},
    source::address::AddressRules,
    telemetry::log,
};

/// Flags of the controller.
#[derive(Debug, Args)]
pub struct ControllerArgs {
    /// Manage the objects of this namespace; may be repeated. Without it: of all namespaces.
    #[arg(long = "namespace", env = "MODELSYNC_NAMESPACE", value_name = "NS", value_delimiter = ',', value_parser = namespace)]
    pub namespaces: Vec<String>,

    /// Manage only the objects with these labels, so that a second copy can run beside the first.
    #[arg(long, env = "MODELSYNC_SELECTOR", value_name = "LABELS", default_value = "")]
    pub selector: String,

    /// Elect a leader among the replicas by a Lease: one leads, the others stand by with warm stores.
    #[arg(long, env = "MODELSYNC_LEADER_ELECT", default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub leader_elect: bool,

    /// Name of the Lease.
    #[arg(long, env = "MODELSYNC_LEASE_NAME", value_name = "NAME", default_value = "modelsync-controller")]
    pub lease_name: String,

    /// Namespace of the Lease; default: the operator's own.
    #[arg(long, env = "MODELSYNC_LEASE_NAMESPACE", value_name = "NS", value_parser = namespace)]
    pub lease_namespace: Option<String>,

    /// How long the Lease is valid without a renewal: 3s to 5m.
    #[arg(long, env = "MODELSYNC_LEASE_DURATION", value_name = "DURATION", default_value = "15s", value_parser = between("3s", "5m"))]
    pub lease_duration: Duration,

    /// Address of /healthz, /readyz and /metrics.
    #[arg(long, env = "MODELSYNC_LISTEN", value_name = "ADDR", default_value = "[::]:8080")]
    pub listen: SocketAddr,

    /// Allow endpoints in a network that is refused by default (loopback, link-local, metadata, the API server); may be
    /// repeated.
    #[arg(long = "allow-address", env = "MODELSYNC_ALLOW_ADDRESS", value_name = "CIDR", value_delimiter = ',')]
    pub allow_addresses: Vec<IpNet>,

    /// Refuse endpoints in a network, even if another rule allows it; may be repeated.
    #[arg(long = "deny-address", env = "MODELSYNC_DENY_ADDRESS", value_name = "CIDR", value_delimiter = ',')]
    pub deny_addresses: Vec<IpNet>,

    /// DNS domain of this cluster: secrets may go to NAME.NAMESPACE.svc.DOMAIN without https.
    #[arg(long, env = "MODELSYNC_CLUSTER_DOMAIN", value_name = "DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,

    /// Minimum age of a finished run before the history limits may delete it: 0s to 24h; below 2m for tests only.
    #[arg(long, env = "MODELSYNC_MIN_RUN_AGE", value_name = "DURATION", default_value = "10m", value_parser = between("0s", "24h"))]
    pub min_run_age: Duration,

    /// Maximum number of poll requests in flight: 1 to 4096.
    #[arg(long, env = "MODELSYNC_MAX_POLLS", value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub max_polls: u32,

    /// Send OpenLineage events about runs to the service at this URL.
    #[arg(long, env = "OPENLINEAGE_URL", value_name = "URL", hide_env_values = true)]
    pub openlineage_url: Option<String>,

    /// Path below that URL to which events are sent; default: api/v1/lineage.
    #[arg(long, env = "OPENLINEAGE_ENDPOINT", value_name = "PATH")]
    pub openlineage_endpoint: Option<String>,

    /// Key of the OpenLineage service. Better set in the environment, from a Secret: other users can read flags.
    #[arg(long, env = "OPENLINEAGE_API_KEY", value_name = "KEY", hide_env_values = true, value_parser = api_key)]
    pub openlineage_api_key: Option<ApiKey>,

    /// Namespace of jobs and models at the OpenLineage service; default: the Kubernetes namespace of each object.
    #[arg(long, env = "OPENLINEAGE_NAMESPACE", value_name = "NAME")]
    pub openlineage_namespace: Option<String>,

    /// Send no OpenLineage events, even if a URL is set.
    #[arg(long, env = "OPENLINEAGE_DISABLED", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    pub openlineage_disabled: bool,

    /// Filter of the log, as in info,modelsync=debug.
    #[arg(long, env = "MODELSYNC_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,

    /// Form of the log lines.
    #[arg(long, env = "MODELSYNC_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: log::Format,
}

impl ControllerArgs {
    /// The settings for the composition root.
    pub fn settings(&self) -> Settings {
        Settings {
            lineage: self.lineage(),
            namespaces: self.namespaces.clone(),
            selector: self.selector.clone(),
            listen: self.listen,
            addresses: AddressRules {
                allow: self.allow_addresses.clone(),
                deny: self.deny_addresses.clone(),
                ..AddressRules::default()
            },
            cluster_domain: self.cluster_domain.clone(),
            min_run_age: self.min_run_age,
            max_polls: usize::try_from(self.max_polls).unwrap_or(usize::MAX),
            lease: self.leader_elect.then(|| ElectionSettings {
                name: self.lease_name.clone(),
                namespace: self.lease_namespace.clone(),
                duration: self.lease_duration,
            }),
        }
    }
}

impl ControllerArgs {
    /// Where lineage events go, if anywhere. An empty value counts as unset: charts set variables that way.
    pub fn lineage(&self) -> Option<LineageSettings> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
        let url = given(&self.openlineage_url).filter(|_| !self.openlineage_disabled)?;
        Some(LineageSettings {
            url,
            endpoint: given(&self.openlineage_endpoint),
            api_key: self.openlineage_api_key.clone().filter(|key| !key.is_empty()),
            namespace: given(&self.openlineage_namespace),
        })
    }
}

/// Accepts every text, because an error would repeat the key. The key is checked when lineage starts.
#[expect(clippy::unnecessary_wraps, reason = "the form of a parser")]
fn api_key(text: &str) -> Result<ApiKey, String> {
    Ok(ApiKey::new(text))
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

    use super::*;
    use crate::cli::{Cli, Command};

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
            "--openlineage-url",
            "http://lineage",
            "--openlineage-endpoint",
            "v2",
            "--openlineage-api-key",
            "s3cret",
            "--openlineage-namespace",
            "prod",
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
    fn sends_lineage_events_if_a_url_is_set_and_not_disabled() {
        let args = parse(&["--openlineage-url=http://l", "--openlineage-api-key=s3cret", "--openlineage-namespace="]);
        let args = args.unwrap();
        assert!(!format!("{args:?}").contains("s3cret"), "{args:?}");
        let settings = args.lineage().unwrap();
        assert_eq!((settings.url.as_str(), settings.namespace, settings.endpoint), ("http://l", None, None));
        assert_eq!(settings.api_key, Some(ApiKey::new("s3cret")));
        for flags in [&[][..], &["--openlineage-url="], &["--openlineage-url=http://l", "--openlineage-disabled"]] {
            assert_eq!(parse(flags).unwrap().lineage(), None, "{flags:?}");
        }
    }

    #[test]
    fn elects_a_leader_by_default() {
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
