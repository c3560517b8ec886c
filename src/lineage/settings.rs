//! The target of lineage events, from the operator's flags. Pure.

use std::fmt;

use http::HeaderValue;
use url::Url;

/// Default path of the events at a lineage service.
const ENDPOINT: &str = "api/v1/lineage";

/// The target of events. Only [`LineageSettings::target`] and [`ApiKey::header`] check the values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineageSettings {
    /// Base URL of the lineage service.
    pub url: String,
    /// Path below it; default `api/v1/lineage`.
    pub endpoint: Option<String>,
    /// Sent as `Authorization: Bearer …`.
    pub api_key: Option<ApiKey>,
    /// Namespace of jobs and models; default: the Kubernetes namespace of each object.
    pub namespace: Option<String>,
}

/// A key that no output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

/// A setting that cannot be used. The message does not repeat the value: it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The URL.
    #[error("--openlineage-url must be an http:// or https:// URL without user and password")]
    Url,
    /// The key.
    #[error("--openlineage-api-key holds characters that no HTTP header may have")]
    ApiKey,
}

impl LineageSettings {
    /// The URL that events are posted to: the endpoint below the base URL's path. Keeps a query of the base URL.
    pub fn target(&self) -> Result<Url, Unusable> {
        let mut url = Url::parse(self.url.trim()).map_err(|_| Unusable::Url)?;
        let web = matches!(url.scheme(), "http" | "https") && url.has_host();
        if !web || !url.username().is_empty() || url.password().is_some() {
            return Err(Unusable::Url);
        }
        let endpoint = self.endpoint.as_deref().unwrap_or(ENDPOINT).trim_start_matches('/');
        let path = format!("{}/{endpoint}", url.path().trim_end_matches('/'));
        url.set_path(&path);
        url.set_fragment(None);
        Ok(url)
    }
}

impl ApiKey {
    /// A key, without the white space around it: files of Secrets often end with a line break.
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// Whether the key is empty.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of the `Authorization` header, marked as sensitive.
    pub fn header(&self) -> Result<HeaderValue, Unusable> {
        let mut value = HeaderValue::try_from(format!("Bearer {}", self.0)).map_err(|_| Unusable::ApiKey)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str, endpoint: Option<&str>) -> Result<String, Unusable> {
        let settings =
            LineageSettings { url: url.into(), endpoint: endpoint.map(Into::into), ..LineageSettings::default() };
        settings.target().map(Into::into)
    }

    #[test]
    fn puts_the_endpoint_below_the_base_url() {
        for (url, endpoint, expected) in [
            ("http://marquez:5000", None, "http://marquez:5000/api/v1/lineage"),
            ("http://marquez:5000/", None, "http://marquez:5000/api/v1/lineage"),
            ("https://host/base/", None, "https://host/base/api/v1/lineage"),
            ("https://host/base?tenant=1#x", None, "https://host/base/api/v1/lineage?tenant=1"),
            ("https://host", Some("/v2/events"), "https://host/v2/events"),
        ] {
            assert_eq!(target(url, endpoint).as_deref(), Ok(expected), "{url} {endpoint:?}");
        }
    }

    #[test]
    fn refuses_urls_that_are_not_http() {
        for url in ["marquez:5000", "ftp://host", "http://", "http://user:s3cret@host", "/api", "unix:/socket"] {
            assert_eq!(target(url, None), Err(Unusable::Url), "{url}");
        }
    }

    #[test]
    fn shows_the_key_only_to_the_service() {
        let key = ApiKey::new(" s3cret\n");
        let header = key.header().unwrap();
        assert_eq!(header.to_str().unwrap(), "Bearer s3cret");
        assert!(header.is_sensitive());
        let settings = LineageSettings { api_key: Some(key), ..LineageSettings::default() };
        assert!(!format!("{settings:?}").contains("s3cret"));
        let broken = ApiKey::new("a\nb").header().unwrap_err();
        assert!(!broken.to_string().contains("a\nb"));
    }
}
