//! The JSON texts of objects as they are kept in memory: compressed. No IO.
//!
//! Idle objects are looked at once in their interval, and there may be ten thousand. What their texts have in common is the
//! names of our fields and the operator's own words, so both sides know these beforehand.

use std::{
    io::{self, ErrorKind},
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::core::invalid::Invalid;

/// What texts are expected to say, in the API server's order of fields; what is most common comes last, where it is nearest.
/// It is known to this process only: a later version may change it.
const EXPECTED: &str = concat!(
    // ModelTrain and ModelVersion.
    r#"{"freshness":{"maxAge":"168h","schedule":{"cron":"0 0 * * *","timeZone":"Europe/Berlin"},"inputs":[{"name":""#,
    r#""gate":{"best":{"direction":"Maximize","metric":"accuracy"},"rules":[{"expression":"metrics.accuracy > 0.9","name":""#,
    r#""trainRef":{"name":"","uid":"","artifact":{"digest":"sha256:","uri":"s3://","previous":{"digest":"v1:sha256:","#,
    r#""acceptedVersion":{"acceptedAt":"2026-","metrics":[{"name":"","source":"Results","value":"0."}],"name":""#,
    r#""score":"0.","trainedAt":"2026-","reason":"VersionAccepted","reason":"Fresh","status":"True","type":"Fresh"}"#,
    r#""message":"the accepted version is fresh","message":"the best of its training","reason":"Best","type":"Accepted"}]"#,
    r#""head":{"digest":"v1:sha256:","name":"","history":[{"acceptedAt":"2026-","name":"","lastAttempt":{"attempt":1,"#,
    r#""endedAt":"2026-","generation":1,"reasons":[{"type":"Schedule","value":"2026-"}],"verdict":"Accepted","winner":""#,
    r#""lastVerdict":{"rules":[{"name":"","verdict":"Passed"}],"verdict":"Passed","version":"","nextEvaluationAt":"2026-"#,
    r#""schedule":{"expression":" UTC","lastHandledTime":"2026-","since":"2026-","slots":[{"decision":"Best","#,
    r#""outcome":"Succeeded","run":"","score":"0.","verdict":"Passed"}],"target":{"digest":"v1:sha256:"#,
    // Spec of a ModelSync.
    r#"{"failedPipelineRunsHistoryLimit":10,"interval":"60s","needsSyncUrl":"http://.svc.cluster.local/needsSync","#,
    r#""parameters":[{"needsSyncName":"name","pipelineName":""},{"fromContext":"Version","name":""#,
    r#""jobTemplate":{"spec":{"backoffLimit":0,"template":{"spec":{"containers":[{"args":["command":["#,
    r#""env":[{"name":"","value":""}],"image":"","name":""#,
    r#""pipelineRunTemplate":{"spec":{"params":[{"name":"","value":""},{"name":"","value":""#,
    r#"git@github.com:https://github.com/"}],"pipelineRef":{"name":"},"taskRunTemplate":{"serviceAccountName":""}}},"#,
    r#""successfulPipelineRunsHistoryLimit":10}"#,
    // Status of a ModelSync.
    r#"{"attempt":1,"conditions":[{"lastTransitionTime":"2026-","message":"the endpoint says that a sync is needed","#,
    r#""reason":"OutOfSync","status":"False","message":"the endpoint says that no sync is needed","#,
    r#""observedGeneration":1,"reason":"Operational","status":"True","type":"Ready"},{"lastTransitionTime":"2026-"#,
    r#""message":"the endpoint says that no sync is needed","observedGeneration":1,"reason":"UpToDate","status":"True","#,
    r#""type":"InSync"}],"lastHandledTrigger":"","lastRun":{"attempt":1,"finishedAt":"2026-","generation":1,"#,
    r#""message":"Tasks Completed: 1 (Failed: 0, Cancelled 0), Skipped: 0","name":"","outcome":"Succeeded","#,
    r#""reason":"Succeeded","startedAt":"2026-","target":"v1:sha256:","uid":""},"lastSuccessfulRun":{"attempt":1,"#,
    r#""finishedAt":"2026-","name":"","target":"v1:sha256:"},"observedGeneration":1}"#,
);

/// Spec and status of an object, or two such texts.
#[derive(Debug)]
pub(super) struct CompressedJson {
    bytes: Box<[u8]>,
    /// Lengths of the texts.
    lengths: [usize; 2],
}

impl CompressedJson {
    pub(super) fn new(first: &str, second: &str) -> Self {
        // Writing to memory does not fail; if it did, unpacking would tell.
        let bytes = Codec::lock().pack([first, second]).unwrap_or_default();
        Self { bytes: bytes.into(), lengths: [first.len(), second.len()] }
    }

    /// Both texts. What cannot be unpacked must not be taken for an object without a status.
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

/// What packs and unpacks: one of each, for a new one takes 300 KiB at each time, and an allocator that puts what stays
/// between them never gets that back.
struct Codec {
    packer: Compress,
    unpacker: Decompress,
}

static PRESS: LazyLock<Mutex<Codec>> = LazyLock::new(|| {
    Mutex::new(Codec { packer: Compress::new(Compression::default(), false), unpacker: Decompress::new(false) })
});

impl Codec {
    fn lock() -> MutexGuard<'static, Self> {
        // It begins anew each time, whatever stopped the last one.
        PRESS.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pack(&mut self, texts: [&str; 2]) -> io::Result<Vec<u8>> {
        let texts = texts.concat();
        self.packer.reset();
        self.packer.set_dictionary(EXPECTED.as_bytes())?;
        // More than deflate ever makes of a text, so that it is finished in one step.
        let mut packed = Vec::with_capacity(texts.len() + texts.len() / 8 + 64);
        let status = self.packer.compress_vec(texts.as_bytes(), &mut packed, FlushCompress::Finish)?;
        if status == Status::StreamEnd { Ok(packed) } else { Err(ErrorKind::WriteZero.into()) }
    }

    fn unpack(&mut self, packed: &[u8], length: usize) -> io::Result<Vec<u8>> {
        self.unpacker.reset(false);
        self.unpacker.set_dictionary(EXPECTED.as_bytes())?;
        // Without any room the end of an empty text would not be found.
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
