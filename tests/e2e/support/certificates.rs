//! A certificate authority of the test's own.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use std::fs;
use std::path::{Path, PathBuf};

/// An authority, and where its files are.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: PathBuf,
}

/// A certificate and its key, in PEM.
pub struct Leaf {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    /// Makes one, with its files in this directory.
    pub fn in_dir(dir: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let authority = Self {
            issuer,
            dir: dir.to_owned(),
        };
        fs::write(authority.file(), authority.issuer.pem()).expect("a file");
        authority
    }

    /// The file with its certificate.
    pub fn file(&self) -> PathBuf {
        self.dir.join("authority.pem")
    }

    /// A certificate for this name or address, which has expired if `is_expired`.
    pub fn issue(&self, name: &str, is_expired: bool) -> Leaf {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        if is_expired {
            params.not_after = date_time_ymd(2020, 1, 1);
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let file = |what: &str| self.dir.join(format!("{name}-{is_expired}.{what}"));
        let leaf = Leaf {
            certificate: file("pem"),
            key: file("key"),
        };
        fs::write(&leaf.certificate, certificate.pem()).expect("a file");
        fs::write(&leaf.key, key.serialize_pem()).expect("a file");
        leaf
    }
}
