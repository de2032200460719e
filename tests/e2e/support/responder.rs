//! A name server over UDP whose answers the test defines.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// A running server, until it is dropped.
pub struct Responder {
    pub at: SocketAddr,
    ended: Arc<AtomicBool>,
    queries: Arc<Mutex<Vec<Vec<u8>>>>,
    thread: Option<JoinHandle<()>>,
}

/// The flags of a reply, and what follows its question.
pub struct Script {
    pub flags: u16,
    /// How many records there are in each section.
    pub counts: [u8; 3],
    pub records: Vec<u8>,
}

impl Responder {
    /// Starts a server that answers a question about a name, in wire format, as `script` says.
    #[track_caller]
    pub fn start(script: impl Fn(&[u8]) -> Script + Send + 'static) -> Self {
        let (socket, at) = super::polled_socket();
        let ended = Arc::new(AtomicBool::new(false));
        let queries = Arc::new(Mutex::new(Vec::new()));
        let thread = thread::spawn({
            let (ended, queries) = (Arc::clone(&ended), Arc::clone(&queries));
            move || {
                let mut query = [0; 512];
                while !ended.load(Ordering::SeqCst) {
                    if let Ok((len, client)) = socket.recv_from(&mut query) {
                        queries.lock().unwrap().push(query[..len].to_vec());
                        let _ = socket.send_to(&reply(&query, &script), client);
                    }
                }
            }
        });
        Self {
            at,
            ended,
            queries,
            thread: Some(thread),
        }
    }

    /// Takes the queries that have come since the last time.
    pub fn take_queries(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.queries.lock().unwrap())
    }
}

fn reply(query: &[u8], script: &impl Fn(&[u8]) -> Script) -> Vec<u8> {
    let name_len = 1 + query[12..]
        .iter()
        .position(|&byte| byte == 0)
        .expect("a name");
    let script = script(&query[12..12 + name_len]);
    let mut reply = query[..12 + name_len + 4].to_vec();
    reply[2..4].copy_from_slice(&(0x8000 | script.flags).to_be_bytes());
    for (section, count) in script.counts.into_iter().enumerate() {
        reply[7 + 2 * section] = count;
    }
    reply.extend(script.records);
    reply
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let thread = self.thread.take().expect("a thread");
        let _ = thread.join();
    }
}
