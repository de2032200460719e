//! A relay between ringmill and a name server: it loses packets and forges replies.

use std::collections::HashSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

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

    /// True if a forged reply with a wrong id was by chance (1 in 65,536) one to another attempt for the
    /// same name: nothing tells it from a true reply.
    pub fn has_guessed_an_id(&self) -> bool {
        let ids = self.ids.lock().unwrap();
        !ids.asked.is_disjoint(&ids.forged)
    }
}

fn key(message: &[u8]) -> Key {
    let name = message[12..].split(|&byte| byte == 0).next();
    ([message[0], message[1]], name.unwrap_or_default().to_vec())
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let thread = self.thread.take().expect("a thread");
        let _ = thread.join();
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
    while !ended.load(Ordering::SeqCst) {
        let Ok((len, client)) = socket.recv_from(&mut query) else {
            continue;
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
            let _ = elsewhere.send_to(&forged, client);
            forged[0] ^= 0xff;
            ids.lock().unwrap().forged.insert(key(&forged));
            let _ = socket.send_to(&forged, client);
            forged[0] ^= 0xff;
            forged[14] ^= 1;
            let _ = socket.send_to(&forged, client);
            let _ = socket.send_to(&forged[..7], client);
        }
        let _ = socket.send_to(reply, client);
    }
}
