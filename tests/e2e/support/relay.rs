//! A relay between ringmill and a name server: it loses packets and forges replies.
//!
//! Two attempts for one name may be in flight on one socket. A forged reply with a wrong id has the id of the
//! other attempt once in 65,536 times, and then nothing tells it from a true reply. With half of all queries
//! lost and one socket for each loop, 40 runs of 20,000 names accepted 11 forged replies (12 were to be
//! expected), each of this kind. The relay notices it, provided that it receives all queries.

use rustix::net::sockopt;
use std::collections::HashSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Room for the queries of 80,000 attempts: the kernel counts a short one as 768 bytes.
const RECEIVE_BUFFER_LEN: usize = 64 * 1024 * 1024;

/// What goes wrong between the two.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trouble {
    /// One in this many queries is lost; none if 0.
    pub loses_one_in: u64,
    /// Each reply is preceded by forged ones.
    pub forges: bool,
}

/// A message's id and the name that it is for.
type Key = ([u8; 2], Vec<u8>);

/// The ids that each name was asked with, and the wrong ones in forged replies.
#[derive(Default)]
struct Ids {
    asked: HashSet<Key>,
    forged: HashSet<Key>,
}

/// A relay, until it is dropped.
pub struct Relay {
    pub at: SocketAddr,
    ids: Arc<Mutex<Ids>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// A relay to this server.
    #[track_caller]
    pub fn to(server: SocketAddr, trouble: Trouble) -> Self {
        let (socket, at) = super::polled_socket();
        // On a busy machine the usual buffer loses queries, whose ids the relay would not know.
        let _ignored = sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER_LEN);
        let ids = Arc::default();
        let ended = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (ids, ended) = (Arc::clone(&ids), Arc::clone(&ended));
            move || relay(&Arc::new(socket), server, trouble, &ids, &ended)
        });
        Self {
            at,
            ids,
            ended,
            thread: Some(thread),
        }
    }

    /// True if a forged reply with a wrong id had by chance that of another attempt for the same name.
    pub fn has_guessed_an_id(mut self) -> bool {
        self.end().expect("no panic");
        let ids = self.ids.lock().unwrap();
        !ids.asked.is_disjoint(&ids.forged)
    }

    /// Returns when all queries that have arrived have been read.
    fn end(&mut self) -> thread::Result<()> {
        self.ended.store(true, Ordering::SeqCst);
        self.thread.take().map_or(Ok(()), JoinHandle::join)
    }
}

/// Replaces the first byte of the addresses in an answer, all of which are in 10.0.0.0/16: the row of a forged
/// reply that was accepted then tells how it was forged.
fn mark(message: &mut [u8], mark: u8) {
    for at in 12..message.len().saturating_sub(3) {
        if message[at..].starts_with(&[0, 4]) && message[at + 3] == 0 {
            message[at + 2] = mark;
        }
    }
}

fn key(message: &[u8]) -> Key {
    let name = message[12..].split(|&byte| byte == 0).next();
    ([message[0], message[1]], name.unwrap_or_default().to_vec())
}

impl Drop for Relay {
    fn drop(&mut self) {
        // A panic here would hide why the test fails.
        let _ = self.end();
    }
}

fn relay(
    socket: &Arc<UdpSocket>,
    server: SocketAddr,
    trouble: Trouble,
    ids: &Arc<Mutex<Ids>>,
    ended: &Arc<AtomicBool>,
) {
    // A socket to the server for each client.
    let mut upstreams: std::collections::HashMap<SocketAddr, UdpSocket> = Default::default();
    let (mut query, mut count) = ([0; 4096], 0);
    loop {
        let Ok((len, client)) = socket.recv_from(&mut query) else {
            match ended.load(Ordering::SeqCst) {
                true => return,
                false => continue,
            }
        };
        count += 1;
        ids.lock().unwrap().asked.insert(key(&query[..len]));
        if trouble.loses_one_in > 0 && count % trouble.loses_one_in == 0 {
            continue;
        }
        let upstream = upstreams.entry(client).or_insert_with(|| {
            let upstream = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            upstream.connect(server).expect("connected");
            let replies = upstream.try_clone().expect("a second handle");
            let (socket, ids, ended) = (Arc::clone(socket), Arc::clone(ids), Arc::clone(ended));
            thread::spawn(move || relay_replies(&replies, &socket, client, trouble, &ids, &ended));
            upstream
        });
        let _ = upstream.send(&query[..len]);
    }
}

fn relay_replies(
    upstream: &UdpSocket,
    socket: &UdpSocket,
    client: SocketAddr,
    trouble: Trouble,
    ids: &Mutex<Ids>,
    ended: &AtomicBool,
) {
    let patience = Some(Duration::from_millis(20));
    upstream.set_read_timeout(patience).expect("a timeout");
    let elsewhere = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let mut reply = [0; 4096];
    while !ended.load(Ordering::SeqCst) {
        let Ok(len) = upstream.recv(&mut reply) else {
            continue;
        };
        let reply = &mut reply[..len];
        if trouble.forges {
            let mut forged = reply.to_vec();
            // NXDOMAIN, from another port; with another id; for another name; and garbage.
            forged[3] |= 3;
            mark(&mut forged, b'p');
            let _ = elsewhere.send_to(&forged, client);
            forged[0] ^= 0xff;
            mark(&mut forged, b'i');
            ids.lock().unwrap().forged.insert(key(&forged));
            let _ = socket.send_to(&forged, client);
            forged[0] ^= 0xff;
            forged[14] ^= 1;
            mark(&mut forged, b'n');
            let _ = socket.send_to(&forged, client);
            let _ = socket.send_to(&forged[..7], client);
        }
        let _ = socket.send_to(reply, client);
    }
}
