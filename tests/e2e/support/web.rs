//! A web server whose responses the test writes itself, byte by byte.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// A request that has arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    pub at: Instant,
    /// The number of its connection.
    pub connection: usize,
    /// Request line and headers.
    pub head: String,
    pub body: Vec<u8>,
}

impl Seen {
    /// The target of the request line.
    pub fn target(&self) -> &str {
        self.head.split(' ').nth(1).expect("a request line")
    }

    /// The value of a header, which is given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// What happens to a connection after a response.
#[derive(Clone, Copy, Debug)]
pub enum Then {
    /// It is kept for further requests.
    Keep,
    Close,
    Reset,
    /// Nothing more is sent, until the client closes it.
    Hang,
}

/// A running server.
pub struct Web {
    pub at: SocketAddr,
    listener: TcpListener,
    shared: Arc<Shared>,
}

type Respond = dyn Fn(&Seen, &mut TcpStream) -> io::Result<Then> + Send + Sync;

struct Shared {
    respond: Box<Respond>,
    seen: Mutex<Vec<Seen>>,
}

impl Web {
    /// Starts a server that responds like this.
    pub fn start(
        respond: impl Fn(&Seen, &mut TcpStream) -> io::Result<Then> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
        rustix::net::listen(&listener, 4096).expect("a longer queue");
        let at = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            respond: Box::new(respond),
            seen: Mutex::default(),
        });
        let accepting = listener.try_clone().expect("a descriptor");
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for (connection, stream) in accepting.incoming().enumerate() {
                let Ok(mut stream) = stream else { return };
                let shared = Arc::clone(&serving);
                // An error means that the client is gone.
                thread::spawn(move || drop(shared.serve(connection, &mut stream)));
            }
        });
        Self {
            at,
            listener,
            shared,
        }
    }

    /// A server that sends these bytes for each request.
    pub fn sending(bytes: impl Into<Vec<u8>>, then: Then) -> Self {
        let bytes = bytes.into();
        Self::start(move |_, stream| stream.write_all(&bytes).map(|()| then))
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.at)
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        // Ends the accept.
        let _ignored = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
    }
}

impl Shared {
    fn serve(&self, connection: usize, stream: &mut TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        while let Some(seen) = read_request(connection, &mut reader)? {
            self.seen.lock().unwrap().push(seen.clone());
            match (self.respond)(&seen, stream)? {
                Then::Keep => {}
                Then::Close => return Ok(()),
                Then::Reset => {
                    rustix::net::sockopt::set_socket_linger(&*stream, Some(Duration::ZERO))?;
                    return Ok(());
                }
                Then::Hang => {
                    io::copy(&mut reader, &mut io::sink())?;
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Reads a request; `None` at the end of the connection.
fn read_request(connection: usize, reader: &mut impl BufRead) -> io::Result<Option<Seen>> {
    let mut head = String::new();
    loop {
        if reader.read_line(&mut head)? == 0 {
            return Ok(None);
        }
        if head.ends_with("\r\n\r\n") {
            break;
        }
    }
    let mut seen = Seen {
        at: Instant::now(),
        connection,
        head,
        body: Vec::new(),
    };
    let len = seen
        .header("content-length")
        .map_or(0, |len| len.parse().unwrap());
    seen.body.resize(len, 0);
    reader.read_exact(&mut seen.body)?;
    Ok(Some(seen))
}

/// A response with a length.
pub fn response(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut bytes = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}
