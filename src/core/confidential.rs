//! Bytes that must never be shown: values of Secrets, and tokens. Pure.

use std::{fmt, sync::Arc};

/// Confidential bytes. Cheap to clone. `Debug` shows none of them, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Confidential(Arc<[u8]>);

impl Confidential {
    /// The bytes. Only the code that sends them to their intended receiver may call this.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Confidential {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Debug for Confidential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Confidential(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_shows_neither_the_bytes_nor_their_number() {
        let shown = |text: &str| format!("{:?}", Some(Confidential::from(text.as_bytes().to_vec())));
        assert_eq!(shown("s3cret"), "Some(Confidential(…))");
        assert_eq!(shown("s3cret"), shown(""));
    }
}
