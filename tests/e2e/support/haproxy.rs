//! HAProxy in front of another server: a second implementation of HTTP.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::{eventually, ports};

/// A running HAProxy. It is killed on drop.
pub struct Haproxy {
    _dir: TempDir,
    pub at: SocketAddr,
    child: Child,
}

impl Haproxy {
    /// Starts one in front of this server. It refuses requests below `/few/` beyond 20 in a second with status 429,
    /// without saying when it will accept more.
    #[track_caller]
    pub fn before(server: SocketAddr) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let at = ports::free_address();
        let config = format!(
            "defaults\n mode http\n timeout client 60s\n timeout server 60s\n timeout connect 60s\n\
             frontend front\n bind {at}\n\
             stick-table type ip size 1k expire 1m store http_req_rate(1s)\n\
             acl few path_beg /few/\n\
             http-request track-sc0 src if few\n\
             http-request deny deny_status 429 if few {{ sc_http_req_rate(0) gt 20 }}\n\
             http-request set-path %[path,regsub(^/few/,/)]\n\
             default_backend back\n\
             backend back\n server nginx {server}\n"
        );
        let path = dir.path().join("haproxy.cfg");
        fs::write(&path, config).expect("configuration");
        let program = ["haproxy", "/usr/sbin/haproxy"]
            .into_iter()
            .find_map(|program| {
                let mut command = Command::new(program);
                command.arg("-db").arg("-f").arg(&path);
                command.stdout(Stdio::null()).stderr(Stdio::null());
                command.spawn().ok()
            });
        let child = program.expect("haproxy; scripts/test installs it");
        eventually("haproxy listens", Duration::from_secs(60), || {
            TcpStream::connect_timeout(&at, Duration::from_secs(1)).is_ok()
        });
        Self {
            _dir: dir,
            at,
            child,
        }
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
