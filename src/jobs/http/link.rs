//! Connections to servers: in plain text, or with TLS.

use crate::io::Stream;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use std::future::poll_fn;
use std::io::{self, BufRead as _, Write as _};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// The most bytes that are sent at once.
const SEND_LEN_MAX: usize = 64 * 1024;

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
        let bytes = ready!(self.stream.poll_received(context))?;
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
            ready!(written).map_err(io::Error::from)??;
        }
        self.stream.poll_flush(context).map_err(io::Error::from)
    }

    /// Decrypts what is needed to have bytes, or to know the end.
    fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.session.reader().into_first_chunk() {
                Ok(_) => return Poll::Ready(Ok(())),
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

impl Link {
    /// The bytes that were received and not [consumed](Self::consume). If there are none, more are received; none
    /// at all means the end.
    pub(super) fn poll_received(&mut self, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        match self {
            Self::Plain(stream) => stream.poll_received(context).map_err(io::Error::from),
            Self::Tls(tls) => {
                ready!(tls.poll_readable(context))?;
                Poll::Ready(tls.session.reader().into_first_chunk())
            }
        }
    }

    /// Removes the first `count` of the received bytes.
    pub(super) fn consume(&mut self, count: usize) {
        match self {
            Self::Plain(stream) => stream.consume(count),
            Self::Tls(tls) => tls.session.reader().consume(count),
        }
    }

    /// True if there are no received bytes, and no end is known.
    pub(super) fn is_quiet(&mut self) -> bool {
        match self {
            Self::Plain(stream) => !stream.has_received(),
            Self::Tls(tls) => tls.session.reader().into_first_chunk().is_err(),
        }
    }

    /// Sends a message, of which `accepted` bytes have been taken to be sent before.
    pub(super) fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        message: &[u8],
        accepted: &mut usize,
    ) -> Poll<io::Result<()>> {
        loop {
            match self {
                Self::Plain(stream) => ready!(stream.poll_flush(context))?,
                Self::Tls(tls) => ready!(tls.poll_flush(context))?,
            }
            let rest = &message[*accepted..];
            if rest.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let part = &rest[..rest.len().min(SEND_LEN_MAX)];
            *accepted += match self {
                Self::Plain(stream) => {
                    let written = stream.poll_write(context, |out| out.extend_from_slice(part));
                    ready!(written)?;
                    part.len()
                }
                Self::Tls(tls) => tls.session.writer().write(part)?,
            };
        }
    }
}
