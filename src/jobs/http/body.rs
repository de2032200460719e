//! Bodies of responses: decoded, limited, hashed, kept.

use super::body_files::BodyFile;
use super::brotli::Brotli;
use super::options::Keep;
use crate::digest::{Digest, Hasher};
use std::io::{self, Write};

/// The window that a body in zstd may need: RFC 9659 allows 8 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// An encoding that is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Gzip,
    Brotli,
    Zstd,
}

/// Decodes a body that arrives in pieces, and passes it to a [`Consumer`].
pub(super) enum Decoder {
    Identity(Consumer),
    Gzip(Box<flate2::write::MultiGzDecoder<Consumer>>),
    Brotli(Box<Brotli>),
    Zstd(Box<zstd::stream::zio::Writer<Consumer, zstd::stream::raw::Decoder<'static>>>),
}

/// The body of a response.
#[derive(Debug)]
pub enum Body {
    /// In memory.
    Memory(Vec<u8>),
    /// In a file.
    File(BodyFile),
}

/// Takes the decoded body.
#[derive(Debug)]
pub(super) struct Consumer {
    /// Bytes that may follow.
    left: u64,
    is_too_long: bool,
    /// Bytes so far.
    size: u64,
    hasher: Option<Box<Hasher>>,
    /// What is kept, without what was taken.
    kept: Option<Vec<u8>>,
}

/// What is known of a body that was read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Consumed {
    pub(super) size: u64,
    pub(super) digest: Option<Digest>,
    pub(super) kept: Option<Vec<u8>>,
}

/// Why a body cannot be decoded.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Undecodable {
    /// It is longer than allowed.
    TooLong,
    /// It is not in this encoding, which its header names, because of this.
    Invalid(&'static str, String),
}

impl Consumer {
    pub(super) fn new(keep: Keep, len_max: u64) -> Self {
        Self {
            left: len_max,
            is_too_long: false,
            size: 0,
            hasher: keep
                .digest
                .map(|algorithm| Box::new(Hasher::new(algorithm))),
            kept: keep.body.then(Vec::new),
        }
    }

    pub(super) fn finish(self) -> Consumed {
        Consumed {
            size: self.size,
            digest: self.hasher.map(|mut hasher| hasher.finalize_reset()),
            kept: self.kept,
        }
    }

    /// Takes what is kept, if it is longer than this.
    fn take(&mut self, len_max: usize) -> Option<Vec<u8>> {
        let kept = self.kept.as_mut().filter(|kept| kept.len() > len_max)?;
        Some(std::mem::take(kept))
    }
}

impl Write for Consumer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len() as u64;
        if count > self.left {
            self.is_too_long = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.left -= count;
        self.size += count;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Encoding {
    /// The encoding that a value of Content-Encoding names, if it is decoded.
    pub(super) fn of(value: &[u8]) -> Option<Self> {
        let is = |name: &str| value.trim_ascii().eq_ignore_ascii_case(name.as_bytes());
        if is("gzip") || is("x-gzip") {
            Some(Self::Gzip)
        } else if is("br") {
            Some(Self::Brotli)
        } else if is("zstd") {
            Some(Self::Zstd)
        } else {
            None
        }
    }
}

impl Decoder {
    /// For a body in this encoding; `None` if it is not decoded.
    pub(super) fn new(encoding: Option<Encoding>, consumer: Consumer) -> Result<Self, Undecodable> {
        Ok(match encoding {
            None => Self::Identity(consumer),
            Some(Encoding::Gzip) => {
                Self::Gzip(Box::new(flate2::write::MultiGzDecoder::new(consumer)))
            }
            Some(Encoding::Brotli) => Self::Brotli(Box::new(Brotli::new(consumer))),
            Some(Encoding::Zstd) => {
                let decoder = zstd_decoder()
                    .map_err(|error| Undecodable::Invalid("zstd", error.to_string()))?;
                Self::Zstd(Box::new(zstd::stream::zio::Writer::new(consumer, decoder)))
            }
        })
    }

    /// Decodes the first part of the next piece, which is empty only if the decoder [has more](Self::has_more). Returns
    /// the length of that part. Of an encoded body, a call adds no more than 160 KiB to what is kept, however much
    /// follows from the piece: a block of zstd, which has 128 KiB at most, and a buffer.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<usize, Undecodable> {
        let written = match self {
            Self::Identity(consumer) => consumer.write(bytes),
            Self::Gzip(decoder) => decoder.write(bytes).and_then(not_zero),
            Self::Brotli(decoder) => decoder.write(bytes),
            Self::Zstd(decoder) => decoder.write(bytes).and_then(not_zero),
        };
        written.map_err(|error| self.explain(&error))
    }

    /// True if much more may follow from the pieces so far.
    pub(super) fn has_more(&self) -> bool {
        matches!(self, Self::Brotli(decoder) if decoder.has_more())
    }

    /// Takes what is kept, if it is longer than this.
    pub(super) fn take(&mut self, len_max: usize) -> Option<Vec<u8>> {
        self.consumer().take(len_max)
    }

    /// The bytes that were decoded so far.
    pub(super) fn decoded(&mut self) -> u64 {
        self.consumer().size
    }

    /// The body has ended.
    pub(super) fn finish(mut self) -> Result<Consumed, Undecodable> {
        let finished = match &mut self {
            Self::Identity(_) => Ok(()),
            Self::Gzip(decoder) => decoder.try_finish(),
            Self::Brotli(decoder) => decoder.finish(),
            Self::Zstd(decoder) => decoder.finish(),
        };
        finished.map_err(|error| self.explain(&error))?;
        let consumer = match self {
            Self::Identity(consumer) => consumer,
            Self::Gzip(decoder) => decoder
                .finish()
                .map_err(|error| Undecodable::Invalid("gzip", error.to_string()))?,
            Self::Brotli(decoder) => decoder.into_consumer(),
            Self::Zstd(decoder) => decoder.into_inner().0,
        };
        Ok(consumer.finish())
    }

    fn consumer(&mut self) -> &mut Consumer {
        match self {
            Self::Identity(consumer) => consumer,
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Brotli(decoder) => decoder.consumer(),
            Self::Zstd(decoder) => decoder.writer_mut(),
        }
    }

    fn explain(&mut self, error: &io::Error) -> Undecodable {
        if self.consumer().is_too_long {
            return Undecodable::TooLong;
        }
        let encoding = match self {
            Self::Identity(_) => "identity",
            Self::Gzip(_) => "gzip",
            Self::Brotli(_) => "br",
            Self::Zstd(_) => "zstd",
        };
        Undecodable::Invalid(encoding, error.to_string())
    }
}

/// Fails if nothing was read.
fn not_zero(count: usize) -> io::Result<usize> {
    match count {
        0 => Err(io::Error::new(io::ErrorKind::InvalidData, "corrupt data")),
        count => Ok(count),
    }
}

fn zstd_decoder() -> io::Result<zstd::stream::raw::Decoder<'static>> {
    use zstd::stream::raw::{DParameter, Decoder};
    let mut decoder = Decoder::new()?;
    decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))?;
    Ok(decoder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    const LEN: usize = 32 * 1024 * 1024;
    const IN_MEMORY: usize = 100_000;

    /// `LEN` zeros, by the `brotli` command.
    const BROTLI_BOMB: &[u8] = &[
        0xcf, 0xff, 0xff, 0x7f, 0xf8, 0x27, 0x00, 0xe2, 0xb1, 0x40, 0x20, 0xf7, 0xfe, 0x9f, 0xff,
        0xff, 0xff, 0xf0, 0x4f, 0x00, 0xc4, 0x61, 0x01, 0x80, 0xee, 0xfd, 0xff,
    ];

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::stream::encode_all(bytes, 3).unwrap()
    }

    /// Decodes a body that arrives in pieces of this length. Returns it, and the most that was in memory.
    fn decode(
        encoding: Encoding,
        body: &[u8],
        piece_len: usize,
    ) -> Result<(Vec<u8>, usize), Undecodable> {
        let keep = Keep {
            digest: None,
            body: true,
        };
        let consumer = Consumer::new(keep, 2 * LEN as u64);
        let mut decoder = Decoder::new(Some(encoding), consumer)?;
        let (mut decoded, mut most) = (Vec::new(), 0);
        for mut piece in body.chunks(piece_len) {
            while decoder.has_more() || !piece.is_empty() {
                let count = decoder.write(piece)?;
                piece = &piece[count..];
                if let Some(taken) = decoder.take(IN_MEMORY) {
                    most = most.max(taken.len());
                    decoded.extend(taken);
                }
            }
        }
        let consumed = decoder.finish()?;
        let rest = consumed.kept.expect("it was to be kept");
        most = most.max(rest.len());
        decoded.extend(rest);
        assert_eq!(consumed.size, decoded.len() as u64);
        Ok((decoded, most))
    }

    #[test]
    fn what_follows_from_a_few_bytes_is_decoded_little_by_little() {
        let zeros = vec![0; LEN];
        for (encoding, bomb) in [
            (Encoding::Gzip, gzip(&zeros)),
            (Encoding::Zstd, zstd(&zeros)),
            (Encoding::Brotli, BROTLI_BOMB.to_vec()),
        ] {
            for piece_len in [7, usize::MAX] {
                let (decoded, most) = decode(encoding, &bomb, piece_len).unwrap();
                assert!(decoded == zeros, "{encoding:?}, {piece_len}");
                assert!(most <= IN_MEMORY + 160 * 1024, "{encoding:?}: {most}");
            }
        }
    }

    #[test]
    fn bodies_of_several_members() {
        let text: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        let (first, second) = text.split_at(700_000);
        for (encoding, encode) in [
            (Encoding::Gzip, gzip as fn(&[u8]) -> Vec<u8>),
            (Encoding::Zstd, zstd),
        ] {
            let body = [encode(first), encode(&[]), encode(second)].concat();
            for piece_len in [1, 1000, usize::MAX] {
                let (decoded, _) = decode(encoding, &body, piece_len).unwrap();
                assert!(decoded == text, "{encoding:?}, {piece_len}");
            }
        }
    }

    #[test]
    fn bodies_that_are_cut_off_or_followed_by_something() {
        for (encoding, body) in [
            (Encoding::Gzip, gzip(b"text")),
            (Encoding::Zstd, zstd(b"text")),
            (Encoding::Brotli, BROTLI_BOMB.to_vec()),
        ] {
            for bytes in [
                &body[..body.len() - 1],
                &[&body[..], b"more"].concat(),
                b"not compressed",
            ] {
                for piece_len in [1, usize::MAX] {
                    let decoded = decode(encoding, bytes, piece_len);
                    assert!(
                        matches!(decoded, Err(Undecodable::Invalid(..))),
                        "{encoding:?}, {piece_len}, {bytes:?}"
                    );
                }
            }
        }
    }
}
