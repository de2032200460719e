//! Connections as hyper wants them: in plain text, or with TLS.

use crate::error::Errno;
use crate::io::Stream;
use hyper::rt::{Read, ReadBufCursor, Write};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use std::future::poll_fn;
use std::io::{self, BufRead as _, Write as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// The most bytes that are accepted before those are sent.
const WRITE_LEN_MAX: usize = 64 * 1024;

/// The connection ended without the TLS message that says so: an attacker may have cut it off.
#[derive(Debug, thiserror::Error)]
#[error("the connection was closed without a TLS close_notify, so the body may be truncated")]
struct NoCloseNotify;

/// A connection to a server.
#[derive(Debug)]
pub(super) enum Link {
    /// In plain text.
    Plain(Box<Stream>),
    /// With TLS.
    Tls(Box<Tls>),
}

/// TLS over a stream.
#[derive(Debug)]
pub(super) struct Tls {
    stream: Stream,
    session: ClientConnection,
}

impl Tls {
    /// Performs a handshake.
    ///
    /// # Errors
    /// If the server cannot be trusted, does not speak TLS, or the connection fails.
    pub(super) async fn connect(
        stream: Stream,
        config: &Arc<ClientConfig>,
        host: ServerName<'static>,
    ) -> io::Result<Self> {
        let session = ClientConnection::new(Arc::clone(config), host);
        let session =
            session.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let mut tls = Self { stream, session };
        poll_fn(|context| tls.poll_handshake(context)).await?;
        Ok(tls)
    }

    fn poll_handshake(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_flush(context))?;
            if !self.session.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_records(context))?;
        }
    }

    /// Receives and processes records.
    fn poll_records(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let bytes = ready!(self.stream.poll_received(context)).map_err(io_error)?;
        if bytes.is_empty() && self.session.is_handshaking() {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        let count = self.session.read_tls(&mut &*bytes)?;
        self.stream.consume(count);
        if let Err(error) = self.session.process_new_packets() {
            // The server is told why, if it can be told at once.
            let _ = self.poll_flush(context);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.wants_write() {
            let session = &mut self.session;
            let written = self
                .stream
                .poll_write(context, |bytes| session.write_tls(bytes));
            ready!(written).map_err(io_error)??;
        }
        self.stream.poll_flush(context).map_err(io_error)
    }

    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut reader = self.session.reader();
            match reader.fill_buf() {
                Ok(bytes) => {
                    let count = bytes.len().min(buffer.remaining());
                    buffer.put_slice(&bytes[..count]);
                    reader.consume(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Poll::Ready(Err(io::Error::other(NoCloseNotify)));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
            // For a renewal of keys, which the server may request.
            if self.session.wants_write() {
                let _ = self.poll_flush(context)?;
            }
            ready!(self.poll_records(context))?;
        }
    }
}

impl Read for Link {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => {
                let bytes = ready!(stream.poll_received(context)).map_err(io_error)?;
                let count = bytes.len().min(buffer.remaining());
                buffer.put_slice(&bytes[..count]);
                stream.consume(count);
                Poll::Ready(Ok(()))
            }
            Self::Tls(tls) => tls.poll_read(context, &mut buffer),
        }
    }
}

impl Write for Link {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let bytes = &bytes[..bytes.len().min(WRITE_LEN_MAX)];
        match self.get_mut() {
            Self::Plain(stream) => {
                let written = stream.poll_write(context, |out| out.extend_from_slice(bytes));
                ready!(written).map_err(io_error)?;
                Poll::Ready(Ok(bytes.len()))
            }
            Self::Tls(tls) => {
                ready!(tls.poll_flush(context))?;
                Poll::Ready(tls.session.writer().write(bytes))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => stream.poll_flush(context).map_err(io_error),
            Self::Tls(tls) => tls.poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Self::Tls(tls) = this {
            tls.session.send_close_notify();
        }
        Pin::new(this).poll_flush(context)
    }
}

fn io_error(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(errno.raw())
}
