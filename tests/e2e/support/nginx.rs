//! nginx, with files of the test's own.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::certificates::{Authority, Leaf};
use super::{eventually, peers, ports};

/// The sizes of the files, in turn.
const SIZES: [usize; 8] = [0, 1, 100, 1024, 4095, 65_536, 200_000, 1 << 20];

/// How many files there are.
pub const FILES: usize = 40;

/// A running server. It is killed on drop.
pub struct Nginx {
    dir: TempDir,
    pub at: SocketAddr,
    /// Where it serves the same with TLS, for the names `localhost` and `127.0.0.1`.
    pub tls: SocketAddr,
    /// The same with a certificate that has expired.
    pub expired: SocketAddr,
    /// The same with a certificate for another name.
    pub misnamed: SocketAddr,
    pub authority: PathBuf,
    child: Child,
}

/// The name of a file.
pub fn file(number: usize) -> String {
    format!("f{number:02}")
}

impl Nginx {
    /// Starts a server that has the files under `/`, compressed under `/gzip/`, slowly under `/slow/`, and at a
    /// limited rate under `/limited/`. `/moved/X` redirects to `/X`.
    #[track_caller]
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let files = dir.path().join("files");
        fs::create_dir(&files).expect("a directory");
        for number in 0..FILES {
            fs::write(files.join(file(number)), content(number)).expect("a file");
        }
        let authority = Authority::in_dir(dir.path());
        let [at, tls, expired, misnamed] = [(); 4].map(|()| ports::free_address());
        let servers = [
            server(at, None),
            server(tls, Some(&authority.issue("127.0.0.1", false))),
            server(expired, Some(&authority.issue("127.0.0.1", true))),
            server(misnamed, Some(&authority.issue("elsewhere.test", false))),
        ];
        let path = dir.path().display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|what| format!("{what}_temp_path {path}/{what};\n"))
            .concat();
        let config = format!(
            "user root;\ndaemon off;\nworker_processes 1;\npid {path}/pid;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\n{temporary}access_log {path}/access.log;\nserver_tokens off;\nroot {path}/files;\n\
             keepalive_requests 100000;\nlimit_req_zone $binary_remote_addr zone=few:1m rate=20r/s;\n{}\n}}\n",
            servers.concat()
        );
        fs::write(dir.path().join("nginx.conf"), config).expect("configuration");
        let child = Self::spawn(dir.path());
        let nginx = Self {
            authority: authority.file(),
            dir,
            at,
            tls,
            expired,
            misnamed,
            child,
        };
        nginx.wait_until_it_listens();
        nginx
    }

    fn spawn(dir: &Path) -> Child {
        let path = ["nginx", "/usr/sbin/nginx"]
            .into_iter()
            .find_map(|program| {
                let mut command = Command::new(program);
                command.arg("-c").arg(dir.join("nginx.conf"));
                command.arg("-e").arg(dir.join("error.log"));
                command.stdout(Stdio::null()).stderr(Stdio::null());
                command.spawn().ok()
            });
        path.expect("nginx; scripts/test installs it")
    }

    fn wait_until_it_listens(&self) {
        eventually("nginx listens", Duration::from_secs(60), || {
            TcpStream::connect_timeout(&self.misnamed, Duration::from_secs(1)).is_ok()
        });
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.at)
    }

    /// The SHA-256 digests of all files.
    pub fn digests(&self) -> Vec<String> {
        let names: Vec<String> = (0..FILES).map(file).collect();
        let names: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
        peers::digests("sha256", &self.dir.path().join("files"), &names)
    }
}

/// The content of a file.
pub fn content(number: usize) -> Vec<u8> {
    let len = SIZES[number % SIZES.len()];
    let word = format!("{number}\u{e4} ");
    word.bytes().cycle().take(len).collect()
}

fn server(at: SocketAddr, leaf: Option<&Leaf>) -> String {
    let (port, tls) = match leaf {
        None => (format!("{at}"), String::new()),
        Some(Leaf { certificate, key }) => (
            format!("{at} ssl"),
            format!(
                "ssl_certificate {}; ssl_certificate_key {};\n",
                certificate.display(),
                key.display()
            ),
        ),
    };
    format!(
        "server {{\nlisten {port};\n{tls}\
         location /gzip/ {{ rewrite ^/gzip(/.*) $1 break; gzip on; gzip_min_length 1; gzip_types *; }}\n\
         location /slow/ {{ rewrite ^/slow(/.*) $1 break; limit_rate 200k; }}\n\
         location /limited/ {{ rewrite ^/limited(/.*) $1 break; limit_req zone=few burst=4 nodelay;\n\
         limit_req_status 429; add_header Retry-After 1 always; }}\n\
         location /moved/ {{ rewrite ^/moved(/.*) $1 redirect; }}\n}}\n"
    )
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master ends its workers.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ended = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}
