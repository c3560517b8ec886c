//! Reads the refs of a Git server: the `ls-refs` response of protocol version 2, and the advertisement of versions 0
//! and 1. Pure.

use super::pkt_line::{Packet, Packets, delimiter, flush, line, packets};
use crate::source::text::sanitise;

/// Largest part of a server's error text that a message shows, in bytes.
const MAX_WORDS: usize = 128;
/// Suffix of a tag's name on the line with its commit, in the advertisement of versions 0 and 1.
const PEELED: &str = "^{}";

/// The full names that `reference` may mean: itself if it is a full name, otherwise a branch, then a tag.
pub(super) fn candidates(reference: &str) -> Vec<String> {
    if reference == "HEAD" || reference.starts_with("refs/") {
        vec![reference.to_owned()]
    } else {
        vec![format!("refs/heads/{reference}"), format!("refs/tags/{reference}")]
    }
}

/// A ref and the commit it points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FoundRef {
    /// Its full name.
    pub(super) reference: String,
    /// The commit.
    pub(super) commit: String,
}

/// The content of an `info/refs` response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Advertised {
    /// The server speaks version 2.
    V2 {
        /// `object-format`, the hash function of its object IDs, if the server names it.
        object_format: Option<String>,
    },
    /// The server speaks version 0 or 1 and has listed its refs already: those that the caller named.
    Refs(Vec<FoundRef>),
}

/// Reads the body of `info/refs?service=git-upload-pack`: those of `names`, if the server lists its refs at once.
pub(super) fn advertised(body: &[u8], names: &[String]) -> Result<Advertised, String> {
    let mut packets = packets(body).peekable();
    // A server of version 2 may omit the announcement of the service.
    if matches!(packets.peek(), Some(Ok(Packet::Line(b"# service=git-upload-pack")))) {
        packets.next();
        packets.next_if_eq(&Ok(Packet::Flush));
    }
    let first = match packets.peek() {
        Some(Ok(Packet::Line(first))) => *first,
        Some(Err(problem)) => return Err((*problem).to_owned()),
        // The response of a repository without refs may be empty.
        _ => return Ok(Advertised::Refs(Vec::new())),
    };
    if first == b"version 2" {
        packets.next();
        return capabilities(packets);
    }
    if first == b"version 1" {
        packets.next();
    }
    let mut found = Vec::new();
    for packet in packets {
        match packet? {
            Packet::Line(line) => add_advertised(&mut found, names, line)?,
            _ => return Ok(Advertised::Refs(found)),
        }
    }
    Err("the response ends early".to_owned())
}

fn capabilities<'a>(packets: impl Iterator<Item = Result<Packet<'a>, &'static str>>) -> Result<Advertised, String> {
    let (mut lists, mut object_format) = (false, None);
    for packet in packets {
        let Packet::Line(line) = packet? else {
            return if lists {
                Ok(Advertised::V2 { object_format })
            } else {
                Err("the server does not offer ls-refs".to_owned())
            };
        };
        let (name, value) = text(line)?.split_once('=').unwrap_or((text(line)?, ""));
        match name {
            "ls-refs" => lists = true,
            "object-format" => object_format = Some(value.to_owned()),
            _ => {}
        }
    }
    Err("the response ends early".to_owned())
}

/// Adds a line of versions 0 and 1 to `found`, if it is about one of `names`: `<object> <ref>`, on the first line followed by
/// a zero byte and the capabilities. The commit of a tag has a line of its own.
fn add_advertised(found: &mut Vec<FoundRef>, names: &[String], line: &[u8]) -> Result<(), String> {
    let line = line.split(|byte| *byte == 0).next().unwrap_or(line);
    let Some((object, name)) = about(names, line, tag_name)? else {
        return Ok(());
    };
    let commit = object_id(object)?;
    match name.strip_suffix(PEELED) {
        Some(tag) => {
            if let Some(known) = found.iter_mut().rfind(|known| known.reference == tag) {
                known.commit = commit;
            }
        }
        None => found.push(FoundRef { reference: name.to_owned(), commit }),
    }
    Ok(())
}

/// The name of the ref that a line of versions 0 and 1 is about.
fn tag_name(name: &str) -> &str {
    name.strip_suffix(PEELED).unwrap_or(name)
}

/// The object and the rest of a line about one of `names`; `None` for other lines. `name_of` cuts the name out of the rest.
///
/// A server can have thousands of other refs, with names that are not UTF-8, `shallow` lines, and a `HEAD` without a commit.
/// They are no concern of this object. But every line must look like one of a Git server, because a ref that is not listed
/// counts as absent.
fn about<'a>(
    names: &[String],
    line: &'a [u8],
    name_of: fn(&str) -> &str,
) -> Result<Option<(&'a str, &'a str)>, String> {
    if line.starts_with(b"ERR ") {
        text(line)?;
    }
    let space = line.iter().position(|byte| *byte == b' ').ok_or("a ref's line has no name")?;
    let object = std::str::from_utf8(&line[..space]).unwrap_or_default();
    let rest = std::str::from_utf8(&line[space + 1..]).ok();
    if matches!(object, "shallow" | "unborn") {
        return Ok(None);
    }
    object_id(object)?;
    Ok(rest.filter(|rest| names.iter().any(|name| name == name_of(rest))).map(|rest| (object, rest)))
}

/// The body of an `ls-refs` request for these names.
pub(super) fn ls_refs(names: &[String], object_format: Option<&str>) -> Vec<u8> {
    let mut body = Vec::new();
    line(&mut body, "command=ls-refs");
    if let Some(format) = object_format {
        line(&mut body, &format!("object-format={format}"));
    }
    delimiter(&mut body);
    line(&mut body, "peel");
    for name in names {
        line(&mut body, &format!("ref-prefix {name}"));
    }
    flush(&mut body);
    body
}

/// Reads those of `names` from the response to [`ls_refs`].
pub(super) fn listed(body: &[u8], names: &[String]) -> Result<Vec<FoundRef>, String> {
    let mut found = Vec::new();
    let packets: Packets<'_> = packets(body);
    for packet in packets {
        let Packet::Line(line) = packet? else { return Ok(found) };
        let Some((object, rest)) = about(names, line, first_word)? else { continue };
        let mut words = rest.split(' ');
        let name = words.next().unwrap_or_default();
        let peeled = words.find_map(|word| word.strip_prefix("peeled:"));
        found.push(FoundRef { reference: name.to_owned(), commit: object_id(peeled.unwrap_or(object))? });
    }
    Err("the response ends early".to_owned())
}

fn first_word(text: &str) -> &str {
    text.split(' ').next().unwrap_or_default()
}

/// The ref of the first of these names that was found. `ref-prefix` matches longer names too, which are ignored.
pub(super) fn first_of(names: &[String], mut found: Vec<FoundRef>) -> Option<FoundRef> {
    let at = names.iter().find_map(|name| found.iter().position(|found| found.reference == *name))?;
    Some(found.swap_remove(at))
}

/// The line as text. An `ERR` line is an error with the server's message.
fn text(line: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(line).map_err(|_| "a line is not UTF-8 text")?;
    match text.strip_prefix("ERR ") {
        Some(words) => Err(format!("the server reports: {}", sanitise(words, MAX_WORDS))),
        None => Ok(text),
    }
}

/// Checks that `text` is a SHA-1 or SHA-256 object ID in hexadecimal.
fn object_id(text: &str) -> Result<String, String> {
    let is_id = matches!(text.len(), 40 | 64) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_id { Ok(text.to_owned()) } else { Err("a ref does not point to an object".to_owned()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn body(lines: &[&str]) -> Vec<u8> {
        let mut body = Vec::new();
        for text in lines {
            match *text {
                "0000" => flush(&mut body),
                text => line(&mut body, text),
            }
        }
        body
    }

    fn found(reference: &str, commit: &str) -> FoundRef {
        FoundRef { reference: reference.to_owned(), commit: commit.to_owned() }
    }

    #[test]
    fn tries_a_short_name_as_branch_then_as_tag() {
        assert_eq!(candidates("v1"), ["refs/heads/v1", "refs/tags/v1"]);
        assert_eq!(candidates("refs/pull/7/head"), ["refs/pull/7/head"]);
        assert_eq!(candidates("HEAD"), ["HEAD"]);
        let both = vec![found("refs/tags/v1", A), found("refs/heads/v1-old", A), found("refs/heads/v1", B)];
        assert_eq!(first_of(&candidates("v1"), both).unwrap(), found("refs/heads/v1", B));
        assert_eq!(first_of(&candidates("v1"), vec![found("refs/tags/v1", A)]).unwrap(), found("refs/tags/v1", A));
        assert_eq!(first_of(&candidates("v1"), vec![found("refs/heads/v10", A)]), None);
    }

    #[test]
    fn reads_capabilities_of_version_2_with_and_without_the_announcement() {
        let offer = ["version 2", "agent=git/2.39.5", "ls-refs=unborn", "object-format=sha1", "0000"];
        let announced = [&["# service=git-upload-pack", "0000"][..], &offer].concat();
        for lines in [&offer[..], &announced] {
            assert_eq!(
                advertised(&body(lines), &[]).unwrap(),
                Advertised::V2 { object_format: Some("sha1".to_owned()) }
            );
        }
        let error = advertised(&body(&["version 2", "fetch", "0000"]), &[]).unwrap_err();
        assert_eq!(error, "the server does not offer ls-refs");
    }

    #[test]
    fn reads_the_refs_that_an_old_server_advertises() {
        let head = format!("{A} HEAD\0side-band-64k symref=HEAD:refs/heads/main");
        let lines = [
            "# service=git-upload-pack",
            "0000",
            &head,
            &format!("{A} refs/heads/main"),
            &format!("{B} refs/tags/v1"),
            &format!("{A} refs/tags/v1^{{}}"),
            "0000",
        ];
        let names = ["HEAD", "refs/tags/v1"].map(str::to_owned);
        let refs = vec![found("HEAD", A), found("refs/tags/v1", A)];
        assert_eq!(advertised(&body(&lines), &names).unwrap(), Advertised::Refs(refs));
        let empty = format!("{} capabilities^{{}}\0agent=x", "0".repeat(40));
        assert_eq!(advertised(&body(&[&empty, "0000"]), &names).unwrap(), Advertised::Refs(Vec::new()));
        assert_eq!(advertised(b"", &names).unwrap(), Advertised::Refs(Vec::new()));
    }

    #[test]
    fn follows_a_tag_to_its_commit() {
        let lines = [
            format!("{A} HEAD symref-target:refs/heads/main"),
            format!("{B} refs/tags/v1 peeled:{A}"),
            "0000".to_owned(),
        ];
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        let names = ["HEAD", "refs/tags/v1"].map(str::to_owned);
        assert_eq!(listed(&body(&lines), &names).unwrap(), [found("HEAD", A), found("refs/tags/v1", A)]);
    }

    #[test]
    fn other_refs_of_the_server_are_no_concern_of_the_object() {
        let mut bytes = Vec::new();
        let weird = [A.as_bytes(), b" refs/heads/\xff\xfe"].concat();
        let shallow = format!("shallow {B}");
        for text in [weird.as_slice(), shallow.as_bytes(), b"unborn HEAD symref-target:refs/heads/main"] {
            bytes.extend(format!("{:04x}", text.len() + 4).into_bytes());
            bytes.extend(text);
        }
        line(&mut bytes, &format!("{B} refs/heads/main"));
        flush(&mut bytes);
        let names = candidates("main");
        assert_eq!(listed(&bytes, &names).unwrap(), [found("refs/heads/main", B)]);
        assert_eq!(advertised(&bytes, &names).unwrap(), Advertised::Refs(vec![found("refs/heads/main", B)]));
        assert_eq!(listed(&bytes, &candidates("HEAD")), Ok(Vec::new()), "a HEAD without a commit is absent");
    }

    #[test]
    fn requests_only_the_names() {
        let request = ls_refs(&candidates("v1"), Some("sha256"));
        let expected = "0014command=ls-refs\n0019object-format=sha256\n0001\
                        0009peel\n001dref-prefix refs/heads/v1\n001cref-prefix refs/tags/v1\n0000";
        assert_eq!(String::from_utf8(request).unwrap(), expected);
    }

    #[test]
    fn refuses_truncated_and_foreign_responses() {
        for (bytes, problem) in [
            (body(&[&format!("{A} HEAD")]), "ends early"),
            (body(&["hello", "0000"]), "no name"),
            (body(&["hello world", "0000"]), "does not point to an object"),
            (body(&["ERR access denied\u{1b}[31m", "0000"]), "the server reports: access denied[31m"),
            (b"<html>".to_vec(), "not hexadecimal"),
        ] {
            let (old, new) = (advertised(&bytes, &[]).unwrap_err(), listed(&bytes, &[]).unwrap_err());
            assert!(old.contains(problem) && new.contains(problem), "{old} / {new}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(lines in proptest::collection::vec("(version [12]|[0-9a-f]{40} refs/[a-z]{1,5}(\\^\\{\\})?|[ -~]{0,30})", 0..6), end in any::<bool>()) {
            let mut lines: Vec<_> = lines.iter().map(String::as_str).collect();
            if end {
                lines.push("0000");
            }
            let names = candidates("a");
            let _ = advertised(&body(&lines), &names);
            let _ = listed(&body(&lines), &names);
        }
    }
}
