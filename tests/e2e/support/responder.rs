//! A name server that says what a test wants it to, over UDP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

/// A running server, until it is dropped.
pub struct Responder {
    pub at: SocketAddr,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What follows the question of a reply.
pub struct Script {
    pub flags: u16,
    /// How many records there are in each section.
    pub counts: [u8; 3],
    pub records: Vec<u8>,
}

impl Responder {
    /// Starts one that answers a question about a name, in wire format, with what `script` says.
    #[track_caller]
    pub fn start(script: impl Fn(&[u8]) -> Script + Send + 'static) -> Self {
        let (socket, at) = super::polled_socket();
        let ended = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let ended = Arc::clone(&ended);
            move || {
                let mut query = [0; 512];
                while !ended.load(Ordering::SeqCst) {
                    if let Ok((_, client)) = socket.recv_from(&mut query) {
                        let _ = socket.send_to(&reply(&query, &script), client);
                    }
                }
            }
        });
        Self {
            at,
            ended,
            thread: Some(thread),
        }
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
