//! TLS at the servers of the simulation.

use ringmill::io::sim::Layer;
use rustls::crypto::ring;
use rustls::{ServerConfig, ServerConnection};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

/// Streams to this port are encrypted.
pub const PORT: u16 = 443;

/// The server's end of a stream.
#[derive(Debug)]
struct Tls(ServerConnection);

/// TLS, for a server with that port.
pub fn layer(server: SocketAddr) -> Option<Box<dyn Layer>> {
    static CONFIG: OnceLock<Arc<ServerConfig>> = OnceLock::new();
    if server.port() != PORT {
        return None;
    }
    let config = Arc::clone(CONFIG.get_or_init(|| Arc::new(config())));
    let connection = ServerConnection::new(config).expect("a valid configuration");
    Some(Box::new(Tls(connection)))
}

/// Signatures of Ed25519 are all of one length, so that a schedule does not depend on the key.
fn config() -> ServerConfig {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    let params = rcgen::CertificateParams::new(vec!["example".to_owned()]).expect("a name");
    let certificate = params.self_signed(&key).expect("a certificate");
    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("known versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .expect("a key of the certificate")
}

impl Tls {
    fn take_output(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.0.wants_write() {
            self.0.write_tls(&mut bytes).expect("memory");
        }
        bytes
    }
}

impl Layer for Tls {
    fn receive(&mut self, mut bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut messages = Vec::new();
        while !bytes.is_empty() {
            self.0.read_tls(&mut bytes).expect("memory");
            self.0.process_new_packets().expect("what a client sends");
            // It fails where no more is there, after all that is.
            let _ = self.0.reader().read_to_end(&mut messages);
        }
        (messages, self.take_output())
    }

    fn send(&mut self, message: &[u8]) -> Vec<u8> {
        self.0.writer().write_all(message).expect("memory");
        self.take_output()
    }

    fn end(&mut self) -> Vec<u8> {
        self.0.send_close_notify();
        self.take_output()
    }
}
