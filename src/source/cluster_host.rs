//! Which hosts are Services of this cluster, by their name. Pure.
//!
//! The name decides whether confidential headers may go without TLS, so only names that cannot mean anything else count.
//! `trainer` and `trainer.team` are not among them: the resolver would look for them inside the cluster first, but
//! `trainer.team` may be a host of the Internet as well.

use url::{Host, Url};

/// Whether the URL's host is written as `<service>.<namespace>.svc`, or that with the cluster's domain behind it. A pod's
/// name may stand in front.
pub(super) fn is_service(url: &Url, cluster_domain: &str) -> bool {
    let Some(Host::Domain(host)) = url.host() else { return false };
    let host = host.strip_suffix('.').unwrap_or(host);
    let domain = format!(".{}", cluster_domain.trim_matches('.').to_ascii_lowercase());
    let host = host.strip_suffix(domain.as_str()).unwrap_or(host);
    let Some(labels) = host.strip_suffix(".svc").map(|rest| rest.split('.').collect::<Vec<_>>()) else { return false };
    (2..=3).contains(&labels.len()) && labels.iter().all(|label| !label.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_only_names_that_can_mean_nothing_but_a_service() {
        for (host, expected) in [
            ("trainer.team.svc", true),
            ("trainer.team.svc.", true),
            ("TRAINER.team.SVC", true),
            ("trainer-0.trainer.team.svc", true),
            ("trainer.team.svc.cluster.local", true),
            ("trainer.team.svc.cluster.local.:8080", true),
            ("trainer.team.svc:8080", true),
            ("trainer", false),
            ("trainer.team", false),
            ("example.com", false),
            ("team.svc", false),
            ("svc", false),
            ("a.b.c.d.svc", false),
            ("trainer.team.svc.example.com", false),
            ("trainer.team.svc.cluster.local.example.com", false),
            ("trainer.team.cluster.local", false),
            ("trainer.team.svcx", false),
            ("trainer..svc", false),
            (".team.svc", false),
            ("10.96.0.7", false),
            ("[fd00::7]", false),
        ] {
            let url = Url::parse(&format!("http://{host}/x.y.svc?a.b.svc")).unwrap();
            assert_eq!(is_service(&url, "cluster.local"), expected, "{host}");
        }
    }

    #[test]
    fn goes_by_the_domain_of_this_cluster() {
        let url = Url::parse("http://a.b.svc.corp.example/").unwrap();
        for (domain, expected) in
            [("corp.example", true), (".Corp.Example.", true), ("cluster.local", false), ("example", false)]
        {
            assert_eq!(is_service(&url, domain), expected, "{domain}");
        }
    }
}
