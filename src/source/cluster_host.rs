//! Decides by its name whether a host is a Service of this cluster. Pure.
//!
//! The name decides whether confidential headers may be sent without TLS, so only unambiguous names count.
//! `trainer` and `trainer.team` do not: the resolver tries them inside the cluster first, but `trainer.team` may also
//! be a host on the Internet.

use url::{Host, Url};

/// Whether the URL's host has the form `<service>.<namespace>.svc`, with or without the cluster's domain after it. The
/// name of a Pod may precede it.
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
    fn accepts_only_names_that_can_mean_nothing_but_a_service() {
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
    fn uses_the_domain_of_this_cluster() {
        let url = Url::parse("http://a.b.svc.corp.example/").unwrap();
        for (domain, expected) in
            [("corp.example", true), (".Corp.Example.", true), ("cluster.local", false), ("example", false)]
        {
            assert_eq!(is_service(&url, domain), expected, "{domain}");
        }
    }
}
