//! The JSON texts of objects as they are kept in memory: compressed. No IO.
//!
//! There may be ten thousand objects, and an idle one is read once in its interval. Their texts have the names of fields and the
//! operator's own messages in common, so both sides of the compression know these beforehand.

use std::{
    io::{self, ErrorKind},
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::core::invalid::Invalid;

/// What the texts of usual objects say: `tests/generated.rs` makes it from `tests/fixtures/stored.yaml`. Compressed texts stay
/// in this process, so a later version may change it.
const DICTIONARY: &str = include_str!("dictionary.txt");

/// Spec and status of an object, or two such texts.
#[derive(Debug)]
pub(super) struct CompressedJson {
    bytes: Box<[u8]>,
    /// Lengths of the texts.
    lengths: [usize; 2],
}

impl CompressedJson {
    pub(super) fn new(first: &str, second: &str) -> Self {
        // Writing to memory does not fail. If it did, unpacking would.
        let bytes = Codec::lock().pack([first, second]).unwrap_or_default();
        Self { bytes: bytes.into(), lengths: [first.len(), second.len()] }
    }

    /// Both texts. An object whose texts cannot be unpacked must not be taken for one without a status.
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

/// Packs and unpacks. The process has one, because each new one would take 300 KiB for a moment, and an allocator that places
/// lasting memory in between never gets these back.
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
        // More room than deflate ever needs for a text, so one step is enough.
        let mut packed = Vec::with_capacity(texts.len() + texts.len() / 8 + 64);
        let status = self.packer.compress_vec(texts.as_bytes(), &mut packed, FlushCompress::Finish)?;
        if status == Status::StreamEnd { Ok(packed) } else { Err(ErrorKind::WriteZero.into()) }
    }

    fn unpack(&mut self, packed: &[u8], length: usize) -> io::Result<Vec<u8>> {
        self.unpacker.reset(false);
        self.unpacker.set_dictionary(DICTIONARY.as_bytes())?;
        // With no room at all, the end of an empty text would not be found.
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
    fn empty_texts_are_texts() {
        for [first, second] in [["", ""], ["", "b"], ["a", ""]] {
            assert_eq!(CompressedJson::new(first, second).texts().unwrap(), (first.to_owned(), second.to_owned()));
        }
    }

    #[test]
    fn what_cannot_be_unpacked_is_no_object_without_a_status() {
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
