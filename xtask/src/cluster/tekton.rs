//! Tekton's own YAML from its Go module, changed for a cluster without a registry: it refers to the images that are built
//! here. Reads the module cache; `rewrite` is pure.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::image_names;
use crate::binaries::{self, pins::Module};
use crate::files;

const GO_MODULE: &str = "github.com/tektoncd/pipeline";
const KO: &str = "ko://github.com/tektoncd/pipeline/cmd/";
const SHELL: &str = "cgr.dev/chainguard/busybox@sha256:";

/// Tekton's `config` folder and version.
pub(crate) struct Source {
    config: PathBuf,
    version: String,
}

impl Source {
    /// Finds it in the module cache. Downloads the module if necessary.
    pub(crate) fn find() -> Result<Self> {
        let (dir, version) = binaries::dependency(Module::Tekton, GO_MODULE)?;
        Ok(Self { config: dir.join("config"), version })
    }

    /// The CRDs, for a cluster without a webhook that converts between versions.
    pub(crate) fn crds(&self) -> Result<String> {
        let text = self.read(&["300-crds/"])?;
        Ok(without_conversion(&text))
    }

    /// All objects that Tekton needs in a cluster.
    pub(crate) fn install(&self) -> Result<String> {
        let text = self.read(&[
            "100-namespace/",
            "200-",
            "201-",
            "300-crds/",
            "500-webhooks.yaml",
            "clusterrole-aggregate-",
            "config-",
            "controller.yaml",
            "webhook.yaml",
        ])?;
        rewrite(&text, &self.version)
    }

    /// Tekton's version, which is also the tag of its images.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// The YAML files whose names have these prefixes, in that order, as one text. A prefix that ends in a slash is a folder.
    fn read(&self, beginnings: &[&str]) -> Result<String> {
        let mut text = String::new();
        for beginning in beginnings {
            let (dir, prefix) = match beginning.strip_suffix('/') {
                Some(folder) => (self.config.join(folder), ""),
                None => (self.config.clone(), *beginning),
            };
            let mut found = false;
            for name in files::names_in(&dir)? {
                let is_yaml = Path::new(&name).extension().is_some_and(|e| e == "yaml");
                if is_yaml && name.starts_with(prefix) {
                    let file = dir.join(name);
                    text.push_str("---\n");
                    text.push_str(
                        &fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?,
                    );
                    text.push('\n');
                    found = true;
                }
            }
            if !found {
                bail!("Tekton {} has no config/{beginning}*.yaml", self.version);
            }
        }
        Ok(text)
    }
}

/// Removes `spec.conversion` of CRDs: the key indented by two spaces, and the deeper lines below it.
fn without_conversion(yaml: &str) -> String {
    let mut kept = String::with_capacity(yaml.len());
    let mut dropping = false;
    for line in yaml.lines() {
        if line == "  conversion:" {
            dropping = true;
        } else if dropping && !line.starts_with("   ") && !line.trim().is_empty() {
            dropping = false;
        }
        if !dropping {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// Makes image references refer to the images built here, sets the version, and probes readiness from the start and every
/// second. Removes the webhook's CPU limit, which makes it slow to start.
fn rewrite(yaml: &str, version: &str) -> Result<String> {
    let mut text = String::with_capacity(yaml.len());
    let mut probing_readiness = false;
    for line in yaml.lines() {
        let trimmed = line.trim_start();
        let indent = &line[..line.len() - trimmed.len()];
        if trimmed.ends_with("Probe:") {
            probing_readiness = trimmed == "readinessProbe:";
        }
        let line = match trimmed {
            "cpu: 500m" => continue,
            "initialDelaySeconds: 5" if probing_readiness => format!("{indent}initialDelaySeconds: 0"),
            "periodSeconds: 10" if probing_readiness => format!("{indent}periodSeconds: 1"),
            _ => with_local_images(line, version),
        };
        let line = ["tekton.dev/release", "app.kubernetes.io/version"]
            .iter()
            .fold(line, |line, label| line.replace(&format!("{label}: \"devel\""), &format!("{label}: \"{version}\"")));
        text.push_str(&line);
        text.push('\n');
    }
    if let Some(left) = text.lines().find(|line| line.contains("ko://")) {
        bail!("Tekton's YAML names an image that is not built here: {}", left.trim());
    }
    Ok(text)
}

fn with_local_images(line: &str, version: &str) -> String {
    let line = replace_with_tail(line, KO, |c| c.is_ascii_lowercase(), |name| image_names::tekton(name, version));
    replace_with_tail(&line, SHELL, |c| c.is_ascii_hexdigit(), |_| image_names::BUSYBOX.to_owned())
}

/// Replaces each `start` together with the characters that follow and belong to it.
fn replace_with_tail(
    line: &str,
    start: &str,
    belongs: impl Fn(char) -> bool,
    replacement: impl Fn(&str) -> String,
) -> String {
    let mut result = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once(start) {
        let end = after.find(|c| !belongs(c)).unwrap_or(after.len());
        result.push_str(before);
        result.push_str(&replacement(&after[..end]));
        rest = &after[end..];
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversion_is_removed_and_nothing_else() {
        let yaml = "kind: A\nspec:\n  group: g\n  conversion:\n    strategy: Webhook\n    webhook:\n      \
                    x: [\"v1\"]\n\n  names:\n    kind: A\n---\nkind: B\nspec:\n  conversion:\n    strategy: \
                    Webhook\n---\nkind: C\nspec:\n    properties:\n      conversion:\n        type: string\n";
        let expected = "kind: A\nspec:\n  group: g\n  names:\n    kind: A\n---\nkind: B\nspec:\n---\nkind: \
                        C\nspec:\n    properties:\n      conversion:\n        type: string\n";
        assert_eq!(without_conversion(yaml), expected);
    }

    #[test]
    fn references_become_local_images() {
        let yaml = "  image: ko://github.com/tektoncd/pipeline/cmd/controller\n  \
                    \"-nop-image\", \"ko://github.com/tektoncd/pipeline/cmd/nop\",\n  \
                    \"-shell-image\", \"cgr.dev/chainguard/busybox@sha256:19f0\",\n";
        let expected = "  image: local.test/tekton/controller:v1.15.0\n  \
                        \"-nop-image\", \"local.test/tekton/nop:v1.15.0\",\n  \
                        \"-shell-image\", \"local.test/busybox:1.35\",\n";
        assert_eq!(rewrite(yaml, "v1.15.0").unwrap(), expected);
    }

    #[test]
    fn a_reference_that_is_not_replaced_is_an_error() {
        let error = rewrite("image: ko://example.org/other", "v1").unwrap_err();
        assert!(error.to_string().contains("ko://example.org/other"));
    }

    #[test]
    fn only_readiness_is_probed_from_the_start() {
        let yaml = "livenessProbe:\n  initialDelaySeconds: 5\n  periodSeconds: 10\n\
                    readinessProbe:\n  initialDelaySeconds: 5\n  periodSeconds: 10\n";
        let expected = "livenessProbe:\n  initialDelaySeconds: 5\n  periodSeconds: 10\n\
                        readinessProbe:\n  initialDelaySeconds: 0\n  periodSeconds: 1\n";
        assert_eq!(rewrite(yaml, "v1").unwrap(), expected);
    }

    #[test]
    fn the_version_is_set_and_the_cpu_limit_removed() {
        let yaml = "app.kubernetes.io/version: \"devel\"\n  cpu: 500m\n  cpu: 100m\n";
        let expected = "app.kubernetes.io/version: \"v9\"\n  cpu: 100m\n";
        assert_eq!(rewrite(yaml, "v9").unwrap(), expected);
    }
}
