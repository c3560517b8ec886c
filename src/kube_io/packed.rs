//! Compresses the JSON texts of objects in memory. No IO.
//!
//! There may be ten thousand objects, and an idle one is read once per interval. Their texts share field names and the
//! operator's messages, so both sides of the compression use these as a preset dictionary.

use std::{
    io::{self, ErrorKind},
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::core::invalid::Invalid;

/// Texts of typical objects, as the preset dictionary. `tests/generated.rs` makes it from `tests/fixtures/stored.yaml`.
/// Compressed texts never leave this process, so a later version may change it.
const DICTIONARY: &str = include_str!("dictionary.txt");

/// Two compressed JSON texts, such as spec and status of an object.
#[derive(Debug)]
pub(super) struct CompressedJson {
    bytes: Box<[u8]>,
    /// Lengths of the texts.
    lengths: [usize; 2],
}

impl CompressedJson {
    pub(super) fn new(first: &str, second: &str) -> Self {
        // Writing to memory does not fail. If it did, `texts` would return an error.
        let bytes = Codec::lock().pack([first, second]).unwrap_or_default();
        Self { bytes: bytes.into(), lengths: [first.len(), second.len()] }
    }

    /// Bytes of both texts.
    pub(super) const fn length(&self) -> usize {
        self.lengths[0] + self.lengths[1]
    }

    /// Unpacks both texts. A failure is an error: it must not make the object look like one without a status.
    pub(super) fn texts(&self) -> Result<(String, String), Invalid> {
        let [first, second] = self.lengths;
        let unpacked = Codec::lock().unpack(&self.bytes, first + second).ok();
        let unpacked = unpacked.and_then(|texts| String::from_utf8(texts).ok());
        let bug = || Invalid::new("status", "cannot be unpacked: this is a bug of the operator");
        let mut texts = unpacked.filter(|texts| texts.is_char_boundary(first)).ok_or_else(bug)?;
        let second = texts.split_off(first);
        Ok((texts, second))
    }
}

/// Compresses and decompresses. The process has only one: each new one would allocate 300 KiB for a moment, and an
/// allocator that places long-lived data in between never gets this memory back.
struct Codec {
    packer: Compress,
    unpacker: Decompress,
}

static CODEC: LazyLock<Mutex<Codec>> = LazyLock::new(|| {
    Mutex::new(Codec { packer: Compress::new(Compression::default(), false), unpacker: Decompress::new(false) })
});

impl Codec {
    fn lock() -> MutexGuard<'static, Self> {
        // Each use resets it, so a panic during the last one does no harm.
        CODEC.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pack(&mut self, texts: [&str; 2]) -> io::Result<Vec<u8>> {
        let texts = texts.concat();
        self.packer.reset();
        self.packer.set_dictionary(DICTIONARY.as_bytes())?;
        // Deflate never needs more room than this, so one step is enough.
        let mut packed = Vec::with_capacity(texts.len() + texts.len() / 8 + 64);
        let status = self.packer.compress_vec(texts.as_bytes(), &mut packed, FlushCompress::Finish)?;
        if status == Status::StreamEnd { Ok(packed) } else { Err(ErrorKind::WriteZero.into()) }
    }

    fn unpack(&mut self, packed: &[u8], length: usize) -> io::Result<Vec<u8>> {
        self.unpacker.reset(false);
        self.unpacker.set_dictionary(DICTIONARY.as_bytes())?;
        // With a capacity of 0, the decoder would not find the end of an empty text.
        let mut texts = Vec::with_capacity(length.max(1));
        let status = self.unpacker.decompress_vec(packed, &mut texts, FlushDecompress::Finish)?;
        if status == Status::StreamEnd { Ok(texts) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPEC: &str = r#"{"needsSyncUrl":"http://label-bot.models/needsSync","parameters":[{"needsSyncName":"name","pipelineName":"automl-model"}],"pipelineRunTemplate":{"spec":{"params":[{"name":"branchName","value":"auto-update"}],"pipelineRef":{"name":"update-model-pr"}}}}"#;
    const STATUS: &str = r#"{"attempt":1,"conditions":[{"lastTransitionTime":"2027-03-01T10:11:12Z","message":"the endpoint says that no sync is needed","observedGeneration":2,"reason":"Operational","status":"True","type":"Ready"},{"lastTransitionTime":"2027-03-01T10:11:12Z","message":"the endpoint says that no sync is needed","observedGeneration":2,"reason":"UpToDate","status":"True","type":"InSync"}],"lastRun":{"attempt":1,"finishedAt":"2027-03-01T10:11:12Z","generation":1,"name":"churn-ef04ca15bcb68a7b-1","outcome":"Succeeded","reason":"Succeeded","startedAt":"2027-03-01T10:01:02.392307826Z","target":"v1:sha256:005104e99fa7575356276212b2ee3c90cebfed930330034508f976eea28f6db8","uid":"2dc1234b-a8fb-4b92-b9aa-82e0a1e93ba2"},"observedGeneration":2}"#;

    #[test]
    fn usual_object_takes_a_quarter_of_its_text() {
        let packed = CompressedJson::new(SPEC, STATUS);
        assert_eq!(packed.texts().unwrap(), (SPEC.to_owned(), STATUS.to_owned()));
        println!("{} of {} bytes", packed.bytes.len(), SPEC.len() + STATUS.len());
        assert!(packed.bytes.len() * 4 < SPEC.len() + STATUS.len(), "{}", packed.bytes.len());
    }

    #[test]
    fn empty_texts_are_read_as_they_were_packed() {
        for [first, second] in [["", ""], ["", "b"], ["a", ""]] {
            assert_eq!(CompressedJson::new(first, second).texts().unwrap(), (first.to_owned(), second.to_owned()));
        }
    }

    #[test]
    fn corrupt_text_is_an_error_and_not_a_missing_status() {
        let mut packed = CompressedJson::new(SPEC, STATUS);
        packed.bytes = packed.bytes[..packed.bytes.len() / 2].into();
        assert!(packed.texts().is_err());
        assert!(CompressedJson { bytes: Box::default(), lengths: [3, 0] }.texts().is_err());
    }

    proptest! {
        #[test]
        fn texts_are_read_as_they_were_packed(first in ".*", second in ".*") {
            prop_assert_eq!(CompressedJson::new(&first, &second).texts().unwrap(), (first, second));
        }
    }
}
