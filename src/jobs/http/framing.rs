//! Where the bodies of responses end (RFC 9112, sections 6 and 7).

/// The most bytes of the line that begins a chunk.
const LINE_LEN_MAX: usize = 4 * 1024;

/// The most bytes of the trailers after the last chunk.
const TRAILERS_LEN_MAX: usize = 64 * 1024;

/// What is still to come of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Framing {
    /// As many bytes.
    Length(u64),
    /// Chunks.
    Chunked(Chunks),
    /// All until the connection ends.
    UntilClose,
}

/// What is still to come of a body in chunks.
#[derive(Debug, PartialEq, Eq)]
pub struct Chunks {
    next: Next,
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
    /// The bytes of trailers so far.
    trailers_len: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The line that begins a chunk.
    Size,
    /// This many bytes of data, at least one.
    Data(u64),
    /// The line end after the data.
    DataEnd,
    /// The headers after the last chunk, or the empty line that ends them.
    Trailer,
    Nothing,
}

/// Why a body in chunks is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadChunk {
    /// It does not begin with its size.
    #[error("a chunk of the body does not begin with its size")]
    Size,
    /// Its first line is too long.
    #[error("the first line of a chunk is longer than {LINE_LEN_MAX} bytes")]
    LongLine,
    /// It is longer than its size says.
    #[error("a chunk of the body does not end where its size says")]
    End,
    /// What follows the last chunk is neither a header nor the end.
    #[error("what follows the last chunk is no header")]
    NoTrailer,
    /// The trailers are too long.
    #[error("the trailers after the last chunk are longer than {TRAILERS_LEN_MAX} bytes")]
    Trailers,
}

impl Framing {
    /// A body in chunks.
    pub(super) fn chunked() -> Self {
        Self::Chunked(Chunks {
            next: Next::Size,
            line: Vec::new(),
            trailers_len: 0,
        })
    }

    /// True if nothing more is to come.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunks) => chunks.next == Next::Nothing,
            Self::UntilClose => false,
        }
    }

    /// True if the body ends with the connection.
    #[must_use]
    pub fn ends_with_connection(&self) -> bool {
        *self == Self::UntilClose
    }

    /// Reads the next part of `bytes`, which are not empty and follow what was read before. Returns how many bytes
    /// were read, at least one, and those of them that belong to the body.
    ///
    /// # Errors
    /// If a chunk is not valid.
    pub fn read<'a>(&mut self, bytes: &'a [u8]) -> Result<(usize, &'a [u8]), BadChunk> {
        match self {
            Self::Length(left) => {
                let data = take(left, bytes);
                Ok((data.len(), data))
            }
            Self::Chunked(chunks) => chunks.read(bytes),
            Self::UntilClose => Ok((bytes.len(), bytes)),
        }
    }
}

impl Chunks {
    fn read<'a>(&mut self, bytes: &'a [u8]) -> Result<(usize, &'a [u8]), BadChunk> {
        if let Next::Data(left) = &mut self.next {
            let data = take(left, bytes);
            if *left == 0 {
                self.next = Next::DataEnd;
            }
            return Ok((data.len(), data));
        }
        let end = memchr::memchr(b'\n', bytes);
        let part = &bytes[..end.map_or(bytes.len(), |end| end + 1)];
        self.line.extend_from_slice(part);
        if end.is_some() {
            self.next = self.after_line()?;
            self.line.clear();
        } else {
            self.check_part()?;
        }
        Ok((part.len(), &[]))
    }

    /// What follows the line, which is whole.
    fn after_line(&mut self) -> Result<Next, BadChunk> {
        self.check_part()?;
        match self.next {
            Next::Size => match size(&self.line).ok_or(BadChunk::Size)? {
                0 => Ok(Next::Trailer),
                size => Ok(Next::Data(size)),
            },
            Next::DataEnd => Ok(Next::Size),
            Next::Trailer if self.line == b"\r\n" => Ok(Next::Nothing),
            Next::Trailer if !is_header(&self.line) => Err(BadChunk::NoTrailer),
            next => {
                self.trailers_len += self.line.len();
                Ok(next)
            }
        }
    }

    /// Fails if no valid line begins with this one.
    fn check_part(&self) -> Result<(), BadChunk> {
        match self.next {
            Next::Size if self.line.len() > LINE_LEN_MAX => Err(BadChunk::LongLine),
            Next::DataEnd if !b"\r\n".starts_with(&self.line) => Err(BadChunk::End),
            Next::Trailer if self.trailers_len + self.line.len() > TRAILERS_LEN_MAX => {
                Err(BadChunk::Trailers)
            }
            _ => Ok(()),
        }
    }
}

/// The first bytes, no more than are left.
fn take<'a>(left: &mut u64, bytes: &'a [u8]) -> &'a [u8] {
    let count = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
    *left -= count as u64;
    &bytes[..count]
}

/// True for the line of a header.
fn is_header(line: &[u8]) -> bool {
    let alone = [line, b"\r\n"].concat();
    let mut header = [httparse::EMPTY_HEADER];
    let parsed = httparse::parse_headers(&alone, &mut header);
    matches!(parsed, Ok(httparse::Status::Complete((_, [_]))))
}

/// The size in the first line of a chunk. Extensions are ignored, as RFC 9112 asks for.
///
/// `httparse` has such a function, which takes a line without digits for the last chunk.
fn size(line: &[u8]) -> Option<u64> {
    let line = line.strip_suffix(b"\r\n")?;
    let end = line.iter().position(|&byte| byte == b';');
    let digits = line[..end.unwrap_or(line.len())].trim_ascii_end();
    if line.contains(&b'\r') || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The body, and the bytes that follow it, if it ends; `None` if it does not.
    type Ended = Option<(Vec<u8>, usize)>;

    /// Reads bytes that arrive in parts of these lengths.
    fn read(mut framing: Framing, bytes: &[u8], lens: &[usize]) -> Result<Ended, BadChunk> {
        let (mut body, mut at, mut parts) = (Vec::new(), 0, lens.iter().cycle());
        while at < bytes.len() && !framing.is_ended() {
            let end = bytes.len().min(at + parts.next().unwrap());
            while at < end && !framing.is_ended() {
                let (count, data) = framing.read(&bytes[at..end])?;
                assert!(count > 0);
                at += count;
                body.extend(data);
            }
        }
        Ok(framing.is_ended().then(|| (body, bytes.len() - at)))
    }

    fn chunked(text: &str) -> Result<Option<(String, usize)>, BadChunk> {
        let whole = read(Framing::chunked(), text.as_bytes(), &[usize::MAX / 2]);
        assert_eq!(read(Framing::chunked(), text.as_bytes(), &[1]), whole);
        let text = |(body, rest)| (String::from_utf8(body).unwrap(), rest);
        whole.map(|ended| ended.map(text))
    }

    #[test]
    fn chunks() {
        let ended = |body: &str, rest| Ok(Some((body.to_owned(), rest)));
        for (text, expected) in [
            ("0\r\n\r\n", ended("", 0)),
            ("5\r\nhello\r\n0\r\n\r\nHTTP", ended("hello", 4)),
            ("5;a=\"b\"\r\nhello\r\n00;c\r\n\r\n", ended("hello", 0)),
            (
                "5 \t;a\r\nhello\r\n0\r\nA: b\r\nC: d\r\n\r\n",
                ended("hello", 0),
            ),
            (
                "aB\r\n0123456789a0123456789a0123456789a0123456789a",
                Ok(None),
            ),
            ("5\r\nhello\r\n", Ok(None)),
            ("5\r\nhello\r\n0\r\n", Ok(None)),
            ("5\r\nhello\r\n0\r\nA: b\r\n", Ok(None)),
            ("0\r\n0\r\n\r\n", Err(BadChunk::NoTrailer)),
            ("0\r\nA b: c\r\n\r\n", Err(BadChunk::NoTrailer)),
            ("0\r\n: c\r\n\r\n", Err(BadChunk::NoTrailer)),
            ("0\r\nA: b\r\n c\r\n\r\n", Err(BadChunk::NoTrailer)),
            ("5\r\nhelloo\r\n0\r\n\r\n", Err(BadChunk::End)),
            ("5\r\nhello\n0\r\n\r\n", Err(BadChunk::End)),
            ("5\r\nhello\r\r\n0\r\n\r\n", Err(BadChunk::End)),
            ("\r\n\r\n", Err(BadChunk::Size)),
            (";a\r\n\r\n", Err(BadChunk::Size)),
            (" 5\r\nhello\r\n", Err(BadChunk::Size)),
            ("5\nhello\r\n", Err(BadChunk::Size)),
            ("-5\r\nhello\r\n", Err(BadChunk::Size)),
            ("+5\r\nhello\r\n", Err(BadChunk::Size)),
            ("0x5\r\nhello\r\n", Err(BadChunk::Size)),
            ("5 5\r\nhello\r\n", Err(BadChunk::Size)),
            ("5\r;a\r\nhello\r\n", Err(BadChunk::Size)),
            ("1ffffffffffffffff\r\n", Err(BadChunk::Size)),
            ("zz\r\n", Err(BadChunk::Size)),
        ] {
            assert_eq!(chunked(text), expected, "{text:?}");
        }
    }

    #[test]
    fn lines_are_limited() {
        let line = format!("5;{}", "a".repeat(LINE_LEN_MAX));
        assert_eq!(chunked(&line), Err(BadChunk::LongLine));
        let trailers = format!("0\r\n{}", "A: b\r\n".repeat(TRAILERS_LEN_MAX / 6 + 1));
        assert_eq!(chunked(&trailers), Err(BadChunk::Trailers));
        let trailer = format!("0\r\nA: {}", "b".repeat(TRAILERS_LEN_MAX));
        assert_eq!(chunked(&trailer), Err(BadChunk::Trailers));
    }

    #[test]
    fn lengths() {
        let read = |len, text: &str| read(Framing::Length(len), text.as_bytes(), &[3]);
        assert_eq!(read(5, "hello"), Ok(Some((b"hello".to_vec(), 0))));
        assert_eq!(read(5, "hello HTTP"), Ok(Some((b"hello".to_vec(), 5))));
        assert_eq!(read(6, "hello"), Ok(None));
        assert_eq!(read(u64::MAX, "hello"), Ok(None));
        assert_eq!(read(0, "HTTP"), Ok(Some((Vec::new(), 4))));
    }

    #[test]
    fn until_the_end() {
        let mut framing = Framing::UntilClose;
        assert!(framing.ends_with_connection() && !framing.is_ended());
        assert_eq!(framing.read(b"hello"), Ok((5, &b"hello"[..])));
        assert!(!framing.is_ended());
    }

    proptest! {
        /// However they arrive, chunks are the body.
        #[test]
        fn chunks_in_parts(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            lens in prop::collection::vec(1_usize..12, 1..8),
        ) {
            let mut bytes = Vec::new();
            for chunk in &chunks {
                bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
                bytes.extend(chunk);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n\r\nrest");
            let expected = Ok(Some((chunks.concat(), 4)));
            prop_assert_eq!(read(Framing::chunked(), &bytes, &lens), expected);
        }

        /// Whether bytes are valid chunks does not depend on how they arrive.
        #[test]
        fn any_bytes_in_parts(
            text in "([0-2]{0,2}(;a)?\r\n|[ab]{0,3}|\r\n){0,8}",
            lens in prop::collection::vec(1_usize..5, 1..5),
        ) {
            let whole = read(Framing::chunked(), text.as_bytes(), &[usize::MAX / 2]);
            prop_assert_eq!(read(Framing::chunked(), text.as_bytes(), &lens), whole);
        }
    }
}
