//! Certificates, keys, tokens and kubeconfigs of a cluster, new at each `up`. Writes files in the cluster's folder.

use anyhow::{Context, Result, anyhow};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::json;

use super::layout::Layout;
use crate::{digest, files};

/// The names in certificates and kubeconfigs.
pub(crate) struct Names<'a> {
    /// The node's name and address, at level 2.
    pub(crate) node: Option<(&'a str, &'a str)>,
    /// The first address of the service range: `kubernetes.default`.
    pub(crate) service_address: &'a str,
    /// The URL of the API server.
    pub(crate) server: &'a str,
}

/// Writes all files into `pki/`, and the administrator's kubeconfig next to it.
pub(crate) fn write(layout: &Layout, names: &Names) -> Result<()> {
    let authority = authority(layout)?;
    let mut server_names = vec![
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "127.0.0.1",
        names.service_address,
    ];
    server_names.extend(names.node.map(|(_, address)| address));
    certify(layout, &authority, "apiserver", ("", "kube-apiserver"), &server_names)?;
    if let Some((node, address)) = names.node {
        let client = ("system:masters", "apiserver-kubelet-client");
        certify(layout, &authority, "kubelet-client", client, &[])?;
        let server = ("system:nodes", &*format!("system:node:{node}"));
        let server_names = [node, address, "127.0.0.1"];
        certify(layout, &authority, "kubelet-server", server, &server_names)?;
    }
    let service_accounts = KeyPair::generate()?;
    files::write(&layout.pki("sa.key"), service_accounts.serialize_pem())?;
    files::write(&layout.pki("sa.pub"), service_accounts.public_key_pem())?;
    accounts(layout, names)
}

fn authority(layout: &Layout) -> Result<Issuer<'static, KeyPair>> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name = distinguished_name("", "modelsync-test-cluster");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate().context("cannot generate a key")?;
    let certificate = params.self_signed(&key)?;
    files::write(&layout.pki("ca.crt"), certificate.pem())?;
    files::write(&layout.pki("ca.key"), key.serialize_pem())?;
    Ok(Issuer::new(params, key))
}

fn certify(
    layout: &Layout,
    authority: &Issuer<'_, KeyPair>,
    file: &str,
    (group, user): (&str, &str),
    names: &[&str],
) -> Result<()> {
    let names: Vec<String> = names.iter().copied().map(String::from).collect();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = distinguished_name(group, user);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, authority)?;
    files::write(&layout.pki(&format!("{file}.crt")), certificate.pem())?;
    files::write(&layout.pki(&format!("{file}.key")), key.serialize_pem())
}

/// A subject as Kubernetes reads it: the organisation is the group, the common name is the user.
fn distinguished_name(group: &str, user: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if !group.is_empty() {
        name.push(DnType::OrganizationName, group);
    }
    name.push(DnType::CommonName, user);
    name
}

/// Writes a token and a kubeconfig for each user that authenticates to the API server with a token.
fn accounts(layout: &Layout, names: &Names) -> Result<()> {
    let component = |name: &str| {
        let user = format!("system:{name}");
        (user, "", layout.pki(&format!("{name}.kubeconfig")))
    };
    let mut accounts =
        vec![("admin".to_owned(), "system:masters", layout.kubeconfig()), component("kube-controller-manager")];
    if let Some((node, _)) = names.node {
        accounts.push(component("kube-scheduler"));
        accounts.push(component("kube-proxy"));
        let kubelet = layout.pki("kubelet.kubeconfig");
        accounts.push((format!("system:node:{node}"), "system:nodes", kubelet));
    }
    let mut lines = Vec::new();
    for (user, group, file) in accounts {
        let token = token()?;
        lines.push(format!("{token},{user},{user},\"{group}\"\n"));
        files::write(&file, kubeconfig(layout, names.server, &token)?)?;
    }
    files::write(&layout.pki("tokens.csv"), lines.concat())
}

fn token() -> Result<String> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow!("the kernel gives no random numbers"))?;
    Ok(digest::hex(&bytes))
}

/// A kubeconfig. JSON is YAML.
fn kubeconfig(layout: &Layout, server: &str, token: &str) -> Result<Vec<u8>> {
    let context = format!("modelsync-{}", layout.name);
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": context,
            "cluster": {"server": server, "certificate-authority": layout.pki("ca.crt")},
        }],
        "users": [{"name": context, "user": {"token": token}}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": context}}],
        "current-context": context,
    });
    Ok(serde_json::to_vec_pretty(&config)?)
}
