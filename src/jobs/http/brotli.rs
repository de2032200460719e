//! Bodies in brotli (RFC 7932).

use super::body::Consumer;
use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use std::io::{self, Write};

/// How much is decoded at once.
const DECODED_LEN: usize = 32 * 1024;

/// Decodes a body that arrives in pieces.
///
/// The library has a writer, but that decodes at once all that follows from a piece: 27 bytes may be 32 MiB. It also
/// allows windows of 1 GiB, which are no part of the format.
pub(super) struct Brotli {
    state: BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    decoded: Box<[u8]>,
    has_more: bool,
    consumer: Consumer,
}

impl Brotli {
    pub(super) fn new(consumer: Consumer) -> Self {
        let alloc = StandardAlloc::default;
        Self {
            state: BrotliState::new_strict(alloc(), alloc(), alloc()),
            decoded: vec![0; DECODED_LEN].into(),
            has_more: false,
            consumer,
        }
    }

    pub(super) fn consumer(&mut self) -> &mut Consumer {
        &mut self.consumer
    }

    pub(super) fn into_consumer(self) -> Consumer {
        self.consumer
    }

    /// True if more follows from the bytes so far.
    pub(super) fn has_more(&self) -> bool {
        self.has_more
    }

    /// Decodes the first part of the bytes. Returns its length.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (count, result) = self.step(bytes)?;
        self.has_more = matches!(result, BrotliResult::NeedsMoreOutput);
        if count == 0 && !bytes.is_empty() && !self.has_more {
            return Err(invalid("bytes follow its end"));
        }
        Ok(count)
    }

    /// Decodes what follows from all bytes that were written, which are to be a whole body.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        loop {
            match self.step(&[])? {
                (_, BrotliResult::ResultSuccess) => return Ok(()),
                (_, BrotliResult::NeedsMoreOutput) => {}
                _ => return Err(invalid("it is not complete")),
            }
        }
    }

    fn step(&mut self, bytes: &[u8]) -> io::Result<(usize, BrotliResult)> {
        let (mut bytes_left, mut read) = (bytes.len(), 0);
        let (mut room, mut decoded) = (self.decoded.len(), 0);
        let result = BrotliDecompressStream(
            &mut bytes_left,
            &mut read,
            bytes,
            &mut room,
            &mut decoded,
            &mut self.decoded,
            &mut 0,
            &mut self.state,
        );
        if let BrotliResult::ResultFailure = result {
            return Err(invalid("corrupt data"));
        }
        self.consumer.write_all(&self.decoded[..decoded])?;
        Ok((read, result))
    }
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
