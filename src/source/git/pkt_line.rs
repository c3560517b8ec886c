//! Git's packet lines: the framing of every request to a Git server and of its responses. Pure.
//!
//! Four hexadecimal digits give the length of a packet, themselves included; 0000 to 0002 are markers without a line
//! (gitprotocol-common, gitprotocol-v2).

/// Longest packet that Git sends, length prefix included, in bytes.
const MAX_LINE: usize = 65_520;
/// Size of the length prefix, in bytes.
const PREFIX: usize = 4;

/// One packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packet<'a> {
    /// 0000: the end of a message.
    Flush,
    /// 0001: the border between two sections of a message.
    Delimiter,
    /// 0002: the end of the response.
    End,
    /// A line, without its line break if it has one.
    Line(&'a [u8]),
}

/// Reads packets until the bytes end. The first error is the last item.
pub(super) struct Packets<'a> {
    rest: &'a [u8],
}

/// The packets of these bytes.
pub(super) const fn packets(bytes: &[u8]) -> Packets<'_> {
    Packets { rest: bytes }
}

impl<'a> Packets<'a> {
    fn read(&mut self) -> Result<Packet<'a>, &'static str> {
        let length = self.rest.get(..PREFIX).ok_or("the response breaks off within a packet's length")?;
        let length = length
            .iter()
            .try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))
            .ok_or("a packet's length is not hexadecimal")?;
        let mark = match length {
            0 => Some(Packet::Flush),
            1 => Some(Packet::Delimiter),
            2 => Some(Packet::End),
            _ => None,
        };
        let end = if mark.is_some() { PREFIX } else { usize::try_from(length).unwrap_or(usize::MAX) };
        if !(PREFIX..=MAX_LINE).contains(&end) {
            return Err("a packet's length is out of range");
        }
        let packet = self.rest.get(..end).ok_or("the response breaks off within a packet")?;
        self.rest = &self.rest[end..];
        let line = &packet[PREFIX..];
        Ok(mark.unwrap_or_else(|| Packet::Line(line.strip_suffix(b"\n").unwrap_or(line))))
    }
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<Packet<'a>, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let packet = self.read();
        if packet.is_err() {
            self.rest = &[];
        }
        Some(packet)
    }
}

/// Appends a line. `line` must be shorter than 65516 bytes.
pub(super) fn line(to: &mut Vec<u8>, line: &str) {
    to.extend_from_slice(format!("{:04x}{line}\n", line.len() + PREFIX + 1).as_bytes());
}

/// Appends the border between two sections.
pub(super) fn delimiter(to: &mut Vec<u8>) {
    to.extend_from_slice(b"0001");
}

/// Appends the end of a message.
pub(super) fn flush(to: &mut Vec<u8>) {
    to.extend_from_slice(b"0000");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_lines_and_marks() {
        let read: Vec<_> = packets(b"0006a\n0005b00010004000000020009hello").collect();
        let expected = [
            Packet::Line(b"a"),
            Packet::Line(b"b"),
            Packet::Delimiter,
            Packet::Line(b""),
            Packet::Flush,
            Packet::End,
            Packet::Line(b"hello"),
        ];
        assert_eq!(read, expected.map(Ok));
    }

    #[test]
    fn reports_the_error_and_stops() {
        for (bytes, problem) in [
            (&b"000"[..], "within a packet's length"),
            (b"<htm", "not hexadecimal"),
            (b"+00a", "not hexadecimal"),
            (b"0003", "out of range"),
            (b"ffff", "out of range"),
            (b"0009hell", "within a packet"),
        ] {
            let read: Vec<_> = packets(&[b"0005a", bytes].concat()).map(|item| item.map(|_| ())).collect();
            assert_eq!(read.len(), 2, "{bytes:?}");
            assert!(read[1].unwrap_err().contains(problem), "{bytes:?}: {:?}", read[1]);
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_always_ends(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(packets(&bytes).count() <= bytes.len());
        }

        #[test]
        fn never_panics_on_almost_valid_packets(text in "(000[0-9a-f]|00[0-2][0-9a-f][a-z ]{0,40}){0,10}") {
            prop_assert!(packets(text.as_bytes()).count() <= text.len());
        }

        #[test]
        fn reads_back_what_it_writes(lines in proptest::collection::vec("[ -~]{0,300}", 0..10)) {
            let mut bytes = Vec::new();
            for text in &lines {
                line(&mut bytes, text);
            }
            flush(&mut bytes);
            let read: Vec<_> = packets(&bytes).map(Result::unwrap).collect();
            let expected = lines.iter().map(|text| Packet::Line(text.as_bytes())).chain([Packet::Flush]);
            prop_assert!(read.into_iter().eq(expected));
        }
    }
}
