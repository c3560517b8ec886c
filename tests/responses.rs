//! Parses the corpus of good and bad responses of needs-sync endpoints, and generated responses. Reads the fixtures
//! only.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use modelsync::{
    core::poll::response::{Demand, PollError, PollErrorKind, PollResponse},
    source::{http::Head, needs_sync::parse},
};
use serde::{Deserialize, de::IgnoredAny};

mod support {
    pub mod dice;
}

use support::dice::Dice;

/// Number of generated bodies.
const GENERATED: usize = 60_000;

/// A response as the fixtures describe it, with the expected result.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default = "ok")]
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    header_bytes: Option<usize>,
    body: Option<String>,
    hex: Option<String>,
    repeat: Option<Repeat>,
    class: Option<String>,
    #[serde(default)]
    says: String,
    needed: Option<bool>,
    #[serde(default)]
    parameters: BTreeMap<String, String>,
    target: Option<String>,
    /// In milliseconds.
    poll_after: Option<u64>,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Repeat {
    #[serde(default)]
    before: String,
    unit: String,
    times: usize,
    #[serde(default)]
    after: String,
}

fn ok() -> u16 {
    200
}

fn demand(needed: bool) -> Demand {
    if needed { Demand::Needed } else { Demand::NotNeeded }
}

impl Case {
    fn head(&self) -> Head {
        let header = |(name, value): (&String, &String)| {
            (HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap())
        };
        let headers: HeaderMap = self.headers.iter().map(header).collect();
        let mut head = Head::new(StatusCode::from_u16(self.status).unwrap(), &headers);
        head.header_bytes = self.header_bytes.unwrap_or(head.header_bytes);
        head
    }

    fn bytes(&self) -> Vec<u8> {
        if let Some(hex) = &self.hex {
            return (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        }
        if let Some(Repeat { before, unit, times, after }) = &self.repeat {
            return format!("{before}{}{after}", unit.repeat(*times)).into_bytes();
        }
        self.body.clone().unwrap_or_default().into_bytes()
    }

    fn parse(&self) -> Result<PollResponse, PollError> {
        parse(&self.head(), &self.bytes())
    }
}

fn bad() -> Vec<Case> {
    serde_saphyr::from_str(include_str!("fixtures/responses/bad.yaml")).unwrap()
}

fn good() -> Vec<Case> {
    serde_saphyr::from_str(include_str!("fixtures/responses/good.yaml")).unwrap()
}

/// The rule for error messages that this one breaks, if any.
fn complaint_about(failure: &PollError) -> Option<&'static str> {
    let message = &failure.message;
    if message.len() > 512 {
        Some("is too long")
    } else if message.chars().any(|c| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c)) {
        Some("has control characters")
    } else if message.contains("hunter2") {
        Some("repeats foreign content")
    } else {
        None
    }
}

#[test]
fn every_bad_response_is_refused_for_its_reason() {
    let cases = bad();
    assert!(cases.len() >= 60, "{}", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let expected = case.class.as_deref().unwrap_or("malformed");
        match case.parse() {
            Err(failure)
                if failure.class.as_str() == expected
                    && failure.message.contains(&case.says)
                    && !case.says.is_empty()
                    && complaint_about(&failure).is_none() => {}
            other => wrong.push(format!("{}: expected {expected} {:?}, got {other:?}", case.name, case.says)),
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_good_response_is_accepted_with_its_meaning() {
    for case in good() {
        let expected = PollResponse {
            demand: demand(case.needed.unwrap_or(true)),
            parameters: case.parameters.clone(),
            target: case.target.clone(),
            poll_after: case.poll_after.map(Duration::from_millis),
            reason: case.reason.clone(),
            ..PollResponse::default()
        };
        assert_eq!(case.parse(), Ok(expected), "{}", case.name);
    }
}

#[test]
fn every_failure_but_reported_errors_names_status_type_and_length() {
    for case in bad() {
        let failure = case.parse().unwrap_err();
        if failure.class != PollErrorKind::Errors {
            let status = format!("status {}", case.status);
            let (facts, _) = failure.message.split_once(": ").unwrap();
            assert!(facts.starts_with(&status) && facts.matches(", ").count() == 2, "{}: {facts}", case.name);
            assert!(facts.ends_with(" byte") || facts.ends_with(" bytes") || facts.ends_with(" length"), "{facts}");
        }
    }
}

#[test]
fn names_of_cases_are_unique() {
    let names: Vec<String> = bad().into_iter().chain(good()).map(|case| case.name).collect();
    let distinct: std::collections::BTreeSet<&String> = names.iter().collect();
    assert_eq!(distinct.len(), names.len());
}

impl Dice {
    /// A body with one to four defects: bytes changed, dropped, doubled, or taken from another body.
    fn mutate(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        const TOKENS: [&str; 12] =
            ["\"", "\\", "{", "}", "[", "]", ",", ":", "null", "\"needsSync\":true", "\\ud800", "\u{feff}"];
        let mut body = self.pick(corpus).clone();
        for _ in 0..=self.below(4) {
            let at = self.below(body.len());
            let end = (at + self.below(12)).min(body.len());
            match self.below(6) {
                0 if !body.is_empty() => body[at] = u8::try_from(self.below(256)).unwrap(),
                1 => drop(body.drain(at..end)),
                2 => {
                    let doubled = body[at..end].to_vec();
                    drop(body.splice(at..at, doubled));
                }
                3 => drop(body.splice(at..end, self.pick(&TOKENS).bytes())),
                4 => body.truncate(at),
                _ => {
                    let other = self.pick(corpus);
                    let from = self.below(other.len());
                    body.truncate(at);
                    body.extend_from_slice(&other[from..]);
                }
            }
        }
        body
    }

    /// A valid response in one of many spellings, and its meaning.
    fn response(&mut self) -> (String, PollResponse) {
        let needed = self.below(2) == 0;
        let parameters: BTreeMap<String, String> = (0..self.below(5)).map(|_| (self.text(), self.text())).collect();
        let mut members = vec![format!("\"needsSync\":{}{needed}", self.space())];
        if !parameters.is_empty() || self.below(2) == 0 {
            members.push(format!("\"parameters\":{}", serde_json::to_string(&parameters).unwrap()));
        }
        for member in [
            r#""kind":"NeedsSync""#,
            r#""apiVersion" : "v1alpha1""#,
            r#""errors":[]"#,
            r#""metadata":{"x":[1,{}]}"#,
            r#""x":null"#,
        ] {
            if self.below(2) == 0 {
                let at = self.below(members.len() + 1);
                members.insert(at, member.to_owned());
            }
        }
        let target = (self.below(3) == 0).then(|| self.text()).filter(|target| !target.is_empty());
        members.extend(target.iter().map(|target| format!("\"target\":{}", serde_json::to_string(target).unwrap())));
        let minutes = u64::try_from(self.below(90)).unwrap();
        members.push(format!("\"pollAfter\":\"{minutes}m\""));
        let comma = format!(",{}", self.space());
        let response = PollResponse {
            demand: demand(needed),
            parameters,
            target,
            poll_after: Some(Duration::from_secs(60 * minutes.min(60))),
            ..PollResponse::default()
        };
        (format!("{}{{{}}}{}", self.space(), members.join(&comma), self.space()), response)
    }

    fn text(&mut self) -> String {
        const PIECES: [&str; 10] = ["a", "lr", "\"", "\\", "\n", "\0", "ü", "😀", "$(params.x)", "\u{202e}"];
        (0..self.below(4)).map(|_| *self.pick(&PIECES)).collect()
    }

    fn space(&mut self) -> &'static str {
        const SPACES: [&str; 5] = ["", "", " ", "\n", "\r\n\t"];
        SPACES[self.below(SPACES.len())]
    }
}

/// What serde reads of a response. It skips other members, but reads no name with half a surrogate pair.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Lenient {
    needs_sync: bool,
    parameters: Option<BTreeMap<String, String>>,
    errors: Option<Vec<IgnoredAny>>,
    target: Option<String>,
}

/// Reads a body that the parser accepted with a lenient reader, which must agree. Durations have their own cases. `None` if
/// the lenient reader fails at half a surrogate pair.
fn lenient(body: &[u8]) -> Option<PollResponse> {
    let Lenient { needs_sync, parameters, errors, target } = match serde_json::from_slice(body) {
        Ok(read) => read,
        Err(error) if error.to_string().contains("hex escape") => return None,
        Err(error) => panic!("{error}: {:?}", String::from_utf8_lossy(body)),
    };
    assert!(errors.is_none_or(|errors| errors.is_empty()));
    let parameters = parameters.unwrap_or_default();
    Some(PollResponse { demand: demand(needs_sync), parameters, target, ..PollResponse::default() })
}

#[test]
fn mutated_responses_never_panic_and_accepted_ones_mean_what_a_lenient_reader_finds() {
    let head = Head::new(StatusCode::OK, &HeaderMap::new());
    // Long bodies only slow this down: the limits have their own cases.
    let corpus: Vec<Vec<u8>> =
        bad().iter().chain(&good()).map(Case::bytes).filter(|body| (1..2000).contains(&body.len())).collect();
    let mut dice = Dice(20_240_601);
    let mut accepted = 0;
    for _ in 0..GENERATED {
        let body = dice.mutate(&corpus);
        match parse(&head, &body) {
            Ok(response) => {
                accepted += 1;
                assert!(response.poll_after.is_none_or(|after| after <= Duration::from_hours(1)));
                assert!(response.reason.as_ref().is_none_or(|reason| reason.len() <= 256));
                let read = PollResponse { poll_after: None, reason: None, ..response };
                if let Some(expected) = lenient(&body) {
                    assert_eq!(read, expected, "{:?}", String::from_utf8_lossy(&body));
                }
            }
            // A mutation may move the canary to where a message may repeat it, so only the other rules are checked.
            Err(failure) => match complaint_about(&failure) {
                None | Some("repeats foreign content") => {}
                Some(complaint) => panic!("{:?} {complaint}", failure.message),
            },
        }
    }
    assert!(accepted > GENERATED / 200, "only {accepted} mutants were accepted: the generator tests nothing");
}

#[test]
fn generated_valid_responses_are_accepted_in_every_spelling() {
    let head = Head::new(StatusCode::OK, &HeaderMap::new());
    let mut dice = Dice(7);
    for _ in 0..GENERATED / 10 {
        let (body, expected) = dice.response();
        assert_eq!(parse(&head, body.as_bytes()), Ok(expected), "{body}");
    }
}

/// A response is kept for each object while its target waits.
#[test]
fn parameters_of_a_response_are_few_and_small() {
    let parsed = |count: usize, length: usize| {
        let members: Vec<_> = (0..count).map(|n| format!(r#""{n:04}":"{}""#, "v".repeat(length))).collect();
        let body = format!(r#"{{"needsSync":true,"parameters":{{{}}}}}"#, members.join(","));
        let head = Head::new(StatusCode::OK, &HeaderMap::new());
        parse(&head, body.as_bytes()).map(|response| response.parameters.len()).map_err(|error| error.message)
    };
    assert_eq!(parsed(256, 60), Ok(256));
    assert!(parsed(257, 1).unwrap_err().contains("has 257 members; at most 256"));
    assert!(parsed(2, 9000).unwrap_err().contains("takes 18008 bytes; at most 16384"));
}
