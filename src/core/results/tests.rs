//! Valid and invalid reports of runs.

use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json};

use super::*;

fn of_texts(texts: &[(&str, &str)]) -> Results {
    Results::of_texts(texts.iter().map(|(name, text)| (Cow::from(*name), Cow::from(*text))))
}

fn of_message(message: &str) -> Results {
    Results::of_message(message, 4096)
}

fn metrics(results: &Results) -> Vec<(&str, Option<&str>)> {
    results.metrics.iter().map(|metric| (metric.name.as_str(), metric.value.as_deref())).collect()
}

fn outputs(results: &Results) -> Vec<(&str, &str)> {
    results.outputs.iter().map(|output| (output.name.as_str(), output.value.as_str())).collect()
}

fn model(results: &Results) -> Option<(&str, &str)> {
    results.artifact.as_ref().map(|artifact| (artifact.uri.as_str(), artifact.digest.as_str()))
}

#[test]
fn named_texts_are_read_as_model_metrics_inputs_and_outputs() {
    let results = of_texts(&[
        ("r2", "0.80\n"),
        ("model-uri", "s3://models/7\n"),
        ("report-uri", "https://reports/7\n"),
        ("loss", "+1e-3"),
        ("model-digest", "sha256:00"),
        ("input.data", "2026-11-01\n"),
        ("input.rows", "12"),
        ("build", "007"),
    ]);
    assert_eq!(metrics(&results), [("r2", Some("0.80")), ("loss", Some("+1e-3"))]);
    assert!(results.metrics.iter().all(|metric| metric.source == "Results"));
    assert_eq!(model(&results), Some(("s3://models/7", "sha256:00")));
    assert_eq!(outputs(&results), [("report-uri", "https://reports/7"), ("build", "007")]);
    let read: Vec<_> = results.read_inputs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(read, [("data", "2026-11-01"), ("rows", "12")]);
    assert_eq!(results.problem, "");
}

#[test]
fn a_message_keeps_numbers_as_they_are_written() {
    let results = of_message(
        r#" {"metrics": {"z": 0.10, "a": "1E3", "n": -0}, "artifact": {"uri": "s3://m", "digest": "sha256:00"},
            "outputs": {"report-uri": "https:\/\/r", "epochs": 3.0, "input.data": "c0ffee\n", "none": null}} "#,
    );
    assert_eq!(metrics(&results), [("z", Some("0.10")), ("a", Some("1E3")), ("n", Some("-0"))]);
    assert_eq!(model(&results), Some(("s3://m", "sha256:00")));
    assert_eq!(outputs(&results), [("report-uri", "https://r"), ("epochs", "3.0")]);
    assert_eq!(results.read_inputs, BTreeMap::from([("data".to_owned(), "c0ffee".to_owned())]));
    assert_eq!(results.problem, "");
}

#[test]
fn an_empty_report_has_no_problem() {
    for message in ["", " \n", "{}", r#"{"metrics": null, "artifact": null, "outputs": {}}"#] {
        assert_eq!(of_message(message), Results::default(), "{message}");
    }
    assert_eq!(of_texts(&[]), Results::default());
}

#[test]
fn a_metric_that_is_not_a_finite_number_has_no_value() {
    let results = of_texts(&[("loss", "NaN"), ("r2", "-inf"), ("mse", "1e999")]);
    assert_eq!(metrics(&results), [("loss", None), ("r2", None), ("mse", None)]);
    assert!(results.problem.starts_with("the metric \"loss\" has no value: \"NaN\" is not finite; "), "{results:?}");
    let results = of_message(r#"{"metrics": {"loss": "nan", "good": "yes", "none": null, "r2": 1}}"#);
    assert_eq!(metrics(&results), [("loss", None), ("good", None), ("none", None), ("r2", Some("1"))]);
    assert!(results.problem.contains("the metric \"good\" has no value: it is not a number"), "{results:?}");
}

#[test]
fn nothing_is_taken_from_a_message_that_is_cut_invalid_or_ambiguous() {
    let long = format!(r#"{{"metrics": {{"r2": 1}}, "outputs": {{"x": "{}"}}}}"#, "x".repeat(4096));
    let cut = long.split_at(long.len() - 4096).1;
    let at_limit = format!(r#"{{"metrics": {{"r2": 1}}{}}}"#, " ".repeat(4096 - 22));
    assert_eq!(at_limit.len(), 4096);
    for (message, problem) in [
        (&*long, "is cut: the kubelet keeps less than 4096 bytes whole"),
        (cut, "is cut"),
        (&at_limit, "is cut"),
        (&at_limit[..4000], "is cut: EOF while parsing"),
        (r#"{"metrics": {"r2": 0.8"#, "is cut: EOF while parsing"),
        ("done in 3 s", "is not a JSON object"),
        ("[1]", "is not a JSON object"),
        (r#""{}""#, "is not a JSON object"),
        ("\u{feff}{}", "is not a JSON object"),
        (r#"Error: {"metrics": {}}"#, "is not a JSON object"),
        (r#"{"metrics": {"r2": 1}} {}"#, "cannot be read: trailing characters"),
        (r#"{"metrics": {"loss": NaN}}"#, "JSON has no NaN and no Infinity: write them as strings"),
        (r#"{"metrics": {"loss": -Infinity}}"#, "JSON has no NaN and no Infinity: write them as strings"),
        (r#"{"metrics": {}, "metr\u0069cs": {}}"#, "\"metrics\" occurs twice"),
        ("{'metrics': {}}", "cannot be read: key must be a string"),
        (r#"{"metrics": {"r2": 0.8,}}"#, "cannot be read: key must be a string at line 1"),
    ] {
        let results = of_message(message);
        assert!(results.problem.contains(problem), "{message}: {}", results.problem);
        assert_eq!(Results { problem: String::new(), ..results }, Results::default(), "{message}");
    }
    let complete = Results::of_message(&at_limit, 4097);
    assert_eq!(metrics(&complete), [("r2", Some("1"))], "{complete:?}");
}

#[test]
fn a_part_of_a_message_that_cannot_be_read_is_reported_and_the_others_are_kept() {
    for (message, problem) in [
        (r#"{"metrics": {"a": 1}, "outputs": []}"#, "outputs is not a JSON object"),
        (r#"{"metrics": {"a": 1}, "outputs": {"x": 1, "x": 2}}"#, "outputs cannot be read: \"x\" occurs twice"),
        (r#"{"metrics": {"a": 1}, "output": {}}"#, "\"output\" is not read: it is none of metrics, artifact and"),
        (r#"{"metrics": {"a": 1}, "outputs": {"b": true}}"#, "the output \"b\" is left out: it must be a number or"),
        (r#"{"metrics": {"a": 1}, "outputs": {"b": [1]}}"#, "the output \"b\" is left out: it must be a number or"),
        (r#"{"metrics": {"a": 1}, "outputs": {"b": "\ud800"}}"#, "the output \"b\" is left out"),
        (r#"{"metrics": {"a": 1}, "outputs": {"": "x"}}"#, "an output without a name is left out"),
        (r#"{"metrics": {"a": 1}, "artifact": {"uri": {}}}"#, "artifact.uri is left out: it must be a string"),
        (r#"{"metrics": {"a": 1}, "artifact": {"url": "x"}}"#, "\"url\" of artifact is not read: it is neither uri"),
        (r#"{"metrics": {"a": 1}, "artifact": "s3://x"}"#, "artifact is not a JSON object"),
    ] {
        let results = of_message(message);
        assert!(results.problem.contains(problem), "{message}: {}", results.problem);
        assert_eq!((metrics(&results), model(&results)), (vec![("a", Some("1"))], None), "{message}");
    }
    let results = of_message(r#"{"metrics": [0.8], "artifact": {"uri": "s3://x"}}"#);
    assert_eq!((metrics(&results), model(&results)), (vec![], Some(("s3://x", ""))));
    assert_eq!(results.problem, "metrics is not a JSON object");
}

#[test]
fn nothing_is_taken_from_results_with_a_name_that_occurs_twice() {
    let results = of_texts(&[("r2", "0.8"), ("loss", "1"), ("r2", "0.9")]);
    assert_eq!(results, Results::unreadable("the result \"r2\" occurs twice: no result is read"));
}

#[test]
fn long_values_are_left_out_where_a_part_would_have_another_meaning() {
    let (digits, name) = ("1".repeat(65), "n".repeat(129));
    let results = of_texts(&[
        ("digits", &digits),
        (&name, "1"),
        ("model-uri", &"u".repeat(1025)),
        ("model-digest", "sha256:00"),
        ("log", &"é".repeat(600)),
        ("input.data", &"d".repeat(1025)),
    ]);
    assert_eq!(metrics(&results), [("digits", None)]);
    assert_eq!(model(&results), Some(("", "sha256:00")));
    assert_eq!(outputs(&results), [("log", &*"é".repeat(512))]);
    assert_eq!(results.read_inputs["data"].len(), 1024);
    let shown = "n".repeat(64);
    let said = [
        "the metric \"digits\" has no value: it takes 65 bytes, at most 64 are kept",
        &format!("a metric, \"{shown}\"…, is left out: its name takes more than 128 bytes"),
        "the model's URI is left out: it takes 1025 bytes, at most 1024 are kept",
        "the output \"log\" is cut: it takes 1200 bytes",
    ];
    assert_eq!(results.problem, said.join("; "));
}

#[test]
fn entries_beyond_the_limits_are_counted() {
    let names: Vec<_> = (0..70).map(|number| format!("n{number}")).collect();
    let numbers: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
    let results = of_texts(&numbers);
    assert_eq!((results.metrics.len(), metrics(&results)[63].0), (64, "n63"));
    assert_eq!(results.problem, "there are 70 metrics: the first 64 are kept");
    let texts: Vec<_> = names.iter().map(|name| (name.as_str(), "x")).collect();
    let results = of_texts(&texts);
    assert_eq!((results.outputs.len(), outputs(&results)[31].0), (32, "n31"));
    assert_eq!(results.problem, "there are 70 outputs: the first 32 are kept");
}

#[test]
fn a_problem_shows_foreign_names_on_one_line() {
    let results = of_message(r#"{"a\n\u001b[31m\u202eb": 1}"#);
    assert_eq!(results.problem, r#""a\n\u{1b}[31m\u{202e}b" is not read: it is none of metrics, artifact and outputs"#);
}

mod pods {
    use super::*;

    fn job(succeeded: bool) -> RunPods {
        RunPods { uid: "job-1".to_owned(), succeeded, indexed: false, containers: vec!["train".to_owned()] }
    }

    /// A pod of the Job whose container has left this message.
    fn pod(name: &str, phase: &str, minute: u32, message: &str) -> Value {
        let code = i32::from(phase == "Failed");
        json!({
            "metadata": {
                "name": name,
                "creationTimestamp": "2026-11-02T10:00:00Z",
                "ownerReferences": [{ "uid": "job-1", "controller": true }],
            },
            "spec": { "containers": [{ "name": "train", "terminationMessagePolicy": "File" }] },
            "status": {
                "phase": phase,
                "containerStatuses": [{ "name": "train", "state": { "terminated": {
                    "exitCode": code, "finishedAt": format!("2026-11-02T10:{minute:02}:00Z"), "message": message,
                } } }],
            },
        })
    }

    fn measured(value: u32) -> String {
        json!({ "metrics": { "r2": value } }).to_string()
    }

    fn read(job: RunPods, container: Option<&str>, pods: &[Value]) -> Results {
        let mut search = job.search(container).unwrap();
        for pod in pods {
            search.add(&pod.to_string());
        }
        search.results()
    }

    fn r2(results: &Results) -> Option<&str> {
        metrics(results).first().and_then(|(_, value)| *value)
    }

    #[test]
    fn the_pod_that_succeeded_last_counts_and_in_a_failed_job_the_one_that_failed_last() {
        let mut pods = vec![
            pod("a", "Failed", 9, &measured(1)),
            pod("b", "Succeeded", 3, &measured(2)),
            pod("c", "Succeeded", 5, &measured(3)),
            pod("d", "Succeeded", 4, &measured(4)),
            pod("e", "Failed", 1, &measured(5)),
            pod("f", "Running", 59, &measured(6)),
        ];
        for _ in 0..pods.len() {
            pods.rotate_left(1);
            assert_eq!(r2(&read(job(true), None, &pods)), Some("3"));
            assert_eq!(r2(&read(job(false), None, &pods)), Some("1"));
        }
    }

    #[test]
    fn in_an_indexed_job_that_succeeded_the_pod_of_index_0_counts() {
        let indexed = |index: &str, minute, value| {
            let mut pod = pod(index, "Succeeded", minute, &measured(value));
            pod["metadata"]["annotations"] = json!({ "batch.kubernetes.io/job-completion-index": index });
            pod
        };
        let job = RunPods { indexed: true, ..job(true) };
        let pods = [indexed("0", 1, 10), indexed("1", 2, 11), indexed("10", 3, 12)];
        assert_eq!(r2(&read(job.clone(), None, &pods)), Some("10"));
        let results = read(job, None, &pods[1..]);
        assert_eq!(results.problem, "no pod of index 0 is left that succeeded: what it reported is gone");
    }

    #[test]
    fn pods_that_the_job_does_not_control_do_not_count() {
        let mut others = vec![pod("a", "Succeeded", 3, &measured(1)); 3];
        others[0]["metadata"]["ownerReferences"][0]["uid"] = json!("job-2");
        others[1]["metadata"]["ownerReferences"][0]["controller"] = json!(false);
        others[2]["metadata"]["ownerReferences"] = Value::Null;
        let results = read(job(true), None, &others);
        assert_eq!(results.problem, "the pods of the Job are gone, and with them what they reported");
    }

    #[test]
    fn the_container_is_the_named_one_or_the_only_one_of_the_jobs_own_template() {
        let mut with_sidecar = pod("a", "Succeeded", 3, &measured(1));
        with_sidecar["spec"]["containers"].as_array_mut().unwrap().push(json!({ "name": "proxy" }));
        let sidecar = json!({ "name": "proxy", "state": { "terminated": { "exitCode": 0, "message": measured(2) } } });
        with_sidecar["status"]["containerStatuses"].as_array_mut().unwrap().insert(0, sidecar);
        assert_eq!(r2(&read(job(true), None, std::slice::from_ref(&with_sidecar))), Some("1"));
        let two = RunPods { containers: vec!["train".to_owned(), "proxy".to_owned()], ..job(true) };
        assert_eq!(r2(&read(two.clone(), Some("proxy"), &[with_sidecar])), Some("2"));
        for (job, container, problem) in [
            (
                two.clone(),
                None,
                "the Job has 2 containers: name the one that writes the results in spec.metrics.container",
            ),
            (two, Some("judge"), "spec.metrics.container names \"judge\", which is no container of the Job"),
        ] {
            assert_eq!(job.search(container).unwrap_err(), problem);
        }
    }

    #[test]
    fn the_message_of_a_container_that_failed_is_read_unless_it_may_be_a_log() {
        let mut failed = pod("a", "Failed", 3, &measured(1));
        assert_eq!(r2(&read(job(false), None, std::slice::from_ref(&failed))), Some("1"));
        failed["spec"]["containers"][0]["terminationMessagePolicy"] = json!("FallbackToLogsOnError");
        let results = read(job(false), None, &[failed]);
        assert!(results.metrics.is_empty() && results.problem.contains("FallbackToLogsOnError"), "{results:?}");
        let mut succeeded = pod("a", "Succeeded", 3, &measured(1));
        succeeded["spec"]["containers"][0]["terminationMessagePolicy"] = json!("FallbackToLogsOnError");
        assert_eq!(r2(&read(job(true), None, &[succeeded])), Some("1"));
    }

    #[test]
    fn a_pod_without_the_end_of_its_container_is_reported() {
        let mut evicted = pod("a", "Failed", 3, "");
        evicted["status"]["containerStatuses"] = Value::Null;
        evicted["status"].as_object_mut().unwrap().remove("containerStatuses");
        let results = read(job(false), None, &[evicted]);
        assert_eq!(results.problem, r#"pod "a" does not say how its container "train" ended"#);
        let results = read(job(false), None, &[pod("a", "Succeeded", 3, "")]);
        assert_eq!(results.problem, "no pod of the Job is left that failed: what it reported is gone");
    }

    #[test]
    fn a_pod_with_many_containers_keeps_less_of_each_message() {
        let message = json!({ "outputs": { "x": "x".repeat(2020) }, "metrics": { "r2": 1 } }).to_string();
        let mut crowded = pod("a", "Succeeded", 3, &message);
        crowded["spec"]["initContainers"] = vec![json!({ "name": "i" }); 4].into();
        assert_eq!(r2(&read(job(true), None, std::slice::from_ref(&crowded))), Some("1"), "12288 / 5 = 2457");
        crowded["spec"]["initContainers"] = vec![json!({ "name": "i" }); 5].into();
        let results = read(job(true), None, &[crowded]);
        assert!(results.problem.contains("keeps less than 2048 bytes whole"), "{results:?}");
    }
}

/// Named texts that read as `results` again.
fn written(results: &Results) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
    let mut texts: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::new();
    for metric in &results.metrics {
        texts.push(((&metric.name).into(), metric.value.as_deref().unwrap_or("NaN").into()));
    }
    if let Some(artifact) = &results.artifact {
        texts.push((MODEL_URI.into(), (&artifact.uri).into()));
        texts.push((MODEL_DIGEST.into(), (&artifact.digest).into()));
    }
    texts.extend(results.outputs.iter().map(|output| ((&output.name).into(), (&output.value).into())));
    texts.extend(results.read_inputs.iter().map(|(name, value)| (format!("{INPUT}{name}").into(), value.into())));
    texts
}

fn assert_bounded(results: &Results) {
    assert!(results.metrics.len() <= MAX_METRICS && results.outputs.len() <= MAX_OUTPUTS);
    for RecordedMetric { name, value, .. } in &results.metrics {
        assert!((1..=MAX_NAME).contains(&name.len()));
        assert!(
            value.as_ref().is_none_or(|value| value.len() <= MAX_NUMBER && value.parse::<f64>().unwrap().is_finite())
        );
    }
    for RecordedOutput { name, value } in &results.outputs {
        assert!((1..=MAX_NAME).contains(&name.len()) && value.len() <= MAX_OUTPUT);
    }
    for names in [
        results.metrics.iter().map(|metric| &metric.name).collect::<Vec<_>>(),
        results.outputs.iter().map(|output| &output.name).collect(),
    ] {
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }
    assert!(results.read_inputs.iter().all(|(name, value)| name.len() <= 63 && value.len() <= MAX_OUTPUT));
    let artifact = results.artifact.clone().unwrap_or_default();
    assert!(artifact.uri.len() <= MAX_URI && artifact.digest.len() <= MAX_DIGEST);
    assert!(results.problem.len() <= MAX_PROBLEM && !results.problem.contains(char::is_control));
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        select(vec![MODEL_URI, MODEL_DIGEST, "input.data", "input.", "r2", "loss", ""]).prop_map(str::to_owned),
        "input\\.[a-z]{1,70}",
        "[a-cé\n]{0,3}",
        (0..140_usize).prop_map(|length| "n".repeat(length)),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        select(vec!["NaN", "-inf", "1e999", "0.8\n", " +1 ", "007", "\n\n", "[1]"]).prop_map(str::to_owned),
        any::<f64>().prop_map(|number| number.to_string()),
        (1..70_usize, -999..999_i32).prop_map(|(digits, exponent)| format!("{}e{exponent}", "1".repeat(digits))),
        ".{0,3}",
        (0..600_usize, 0..3_usize).prop_map(|(letters, breaks)| "é".repeat(letters) + &"\n".repeat(breaks)),
    ]
}

/// A message of which some parts are valid.
fn message() -> impl Strategy<Value = String> {
    let scalar = || {
        prop_oneof![
            text().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            Just(json!([1])),
        ]
    };
    let entries = vec((name(), scalar()), 0..90).prop_map(|entries| Value::Object(entries.into_iter().collect()));
    let member = prop_oneof![4 => entries, 1 => scalar()];
    let key = select(vec!["metrics", "artifact", "outputs", "other"]).prop_map(str::to_owned);
    vec((key, member), 0..4).prop_map(|members| Value::Object(members.into_iter().collect()).to_string())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_named_texts_come_out_within_bounds_and_read_the_same_again(texts in vec((name(), text()), 0..90)) {
        let results = Results::of_texts(texts.iter().map(|(name, text)| (Cow::from(name), Cow::from(text))));
        assert_bounded(&results);
        let again = Results::of_texts(written(&results));
        prop_assert_eq!(Results { problem: String::new(), ..again }, Results { problem: String::new(), ..results });
    }

    #[test]
    fn any_message_comes_out_within_bounds(message in prop_oneof![message(), "\\{.{0,64}\\}", ".{0,64}"], limit in 1..300_000_usize, cut in 0..=100_usize) {
        assert_bounded(&Results::of_message(&message, limit));
        let at = message.floor_char_boundary(message.len() * cut / 100);
        assert_bounded(&Results::of_message(&message[..at], limit));
        assert_bounded(&Results::of_message(&message[at..], limit));
    }
}
