//! dnsdist in front of a name server: it does to its answers what networks and busy servers do.

use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::{nsd, ports};

/// A running dnsdist. It is killed on drop.
pub struct Dnsdist {
    _dir: TempDir,
    pub at: SocketAddr,
    child: Child,
}

impl Dnsdist {
    /// Starts one in front of this server, with these lines in its configuration, and waits until it
    /// answers.
    #[track_caller]
    pub fn before(server: SocketAddr, rules: &str) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let at = ports::free_address();
        let config = format!(
            "setLocal('{at}')\nsetSecurityPollSuffix('')\n\
             newServer({{address='{server}', sockets=8, healthCheckMode='up'}})\n{rules}\n"
        );
        let path = dir.path().join("dnsdist.conf");
        fs::write(&path, config).expect("configuration");
        let mut command = Command::new("dnsdist");
        command.arg("--supervised").arg("--config").arg(&path);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("dnsdist; scripts/test installs it");
        let dnsdist = Self {
            _dir: dir,
            at,
            child,
        };
        nsd::wait_until_answers("dnsdist answers", at);
        dnsdist
    }
}

impl Drop for Dnsdist {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
