//! Bodies of responses: decoded, limited, hashed, kept.

use super::body_files::BodyFile;
use super::options::Keep;
use crate::digest::{Digest, Hasher};
use std::io::{self, Write};

/// The window that a body in zstd may need: RFC 9659 allows 8 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// The buffer of the brotli decoder.
const BROTLI_BUFFER_LEN: usize = 4096;

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
    Brotli(Box<brotli_decompressor::DecompressorWriter<Consumer>>),
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
            Some(Encoding::Brotli) => Self::Brotli(Box::new(
                brotli_decompressor::DecompressorWriter::new(consumer, BROTLI_BUFFER_LEN),
            )),
            Some(Encoding::Zstd) => {
                let decoder = zstd_decoder()
                    .map_err(|error| Undecodable::Invalid("zstd", error.to_string()))?;
                Self::Zstd(Box::new(zstd::stream::zio::Writer::new(consumer, decoder)))
            }
        })
    }

    /// Decodes the next piece.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Undecodable> {
        let written = match self {
            Self::Identity(consumer) => consumer.write_all(bytes),
            Self::Gzip(decoder) => decoder.write_all(bytes),
            Self::Brotli(decoder) => decoder.write_all(bytes),
            Self::Zstd(decoder) => decoder.write_all(bytes),
        };
        written.map_err(|error| self.explain(&error))
    }

    /// Takes what is kept, if it is longer than this.
    pub(super) fn take(&mut self, len_max: usize) -> Option<Vec<u8>> {
        let consumer = match self {
            Self::Identity(consumer) => consumer,
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Brotli(decoder) => decoder.get_mut(),
            Self::Zstd(decoder) => decoder.writer_mut(),
        };
        consumer.take(len_max)
    }

    /// The body has ended.
    pub(super) fn finish(mut self) -> Result<Consumed, Undecodable> {
        let finished = match &mut self {
            Self::Identity(_) => Ok(()),
            Self::Gzip(decoder) => decoder.try_finish(),
            Self::Brotli(decoder) => decoder.close(),
            Self::Zstd(decoder) => decoder.finish(),
        };
        finished.map_err(|error| self.explain(&error))?;
        let consumer = match self {
            Self::Identity(consumer) => consumer,
            Self::Gzip(decoder) => decoder
                .finish()
                .map_err(|error| Undecodable::Invalid("gzip", error.to_string()))?,
            Self::Brotli(decoder) => match decoder.into_inner() {
                Ok(consumer) | Err(consumer) => consumer,
            },
            Self::Zstd(decoder) => decoder.into_inner().0,
        };
        Ok(consumer.finish())
    }

    fn explain(&self, error: &io::Error) -> Undecodable {
        let (encoding, consumer) = match self {
            Self::Identity(consumer) => ("identity", consumer),
            Self::Gzip(decoder) => ("gzip", decoder.get_ref()),
            Self::Brotli(decoder) => ("br", decoder.get_ref()),
            Self::Zstd(decoder) => ("zstd", decoder.writer()),
        };
        match consumer.is_too_long {
            true => Undecodable::TooLong,
            false => Undecodable::Invalid(encoding, error.to_string()),
        }
    }
}

fn zstd_decoder() -> io::Result<zstd::stream::raw::Decoder<'static>> {
    use zstd::stream::raw::{DParameter, Decoder};
    let mut decoder = Decoder::new()?;
    decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))?;
    Ok(decoder)
}
