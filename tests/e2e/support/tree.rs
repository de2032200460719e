//! Directories of files to hash: plain files in large numbers, and hostile ones.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use tempfile::TempDir;

/// The longest path that a system call takes: PATH_MAX less the NUL.
pub const LONGEST_PATH: usize = 4095;

/// A temporary directory that every user can enter. Removed on drop.
pub struct Scratch {
    dir: TempDir,
}

impl Scratch {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        Scratch { dir }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The path of a file, whether it exists or not.
    pub fn join(&self, name: impl AsRef<[u8]>) -> PathBuf {
        self.dir.path().join(OsStr::from_bytes(name.as_ref()))
    }

    /// Writes a file and returns its path.
    #[track_caller]
    pub fn file(&self, name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Writes `count` small files, each with its own content, and returns their names.
    pub fn files(&self, count: usize) -> Vec<String> {
        let names: Vec<String> = (0..count).map(|number| format!("f{number:05}")).collect();
        for (number, name) in names.iter().enumerate() {
            self.file(name, content(number, number % 300));
        }
        names
    }
}

/// `length` bytes that differ for each seed: the seed, then a pseudo-random sequence.
pub fn content(seed: usize, length: usize) -> Vec<u8> {
    let mut state = seed as u64 ^ 0x9e37_79b9_7f4a_7c15;
    let mut bytes = format!("{seed}:").into_bytes();
    while bytes.len() < length {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length.max(1));
    bytes
}

/// Reads a file by a path that may be too long to be made absolute.
#[track_caller]
pub fn read_at(dir: &Path, name: &[u8]) -> Vec<u8> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let dir = openat(CWD, dir, flags, Mode::empty()).expect("open the directory");
    let mut file = fs::File::from(openat(&dir, name, flags, Mode::empty()).expect("open"));
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).expect("read");
    bytes
}

/// Joins names into a list.
pub fn list<N: AsRef<[u8]>>(names: &[N], end: u8) -> Vec<u8> {
    names
        .iter()
        .flat_map(|name| [name.as_ref(), &[end]].concat())
        .collect()
}

/// The lines that `ringmill` and GNU print for names that need no escaping.
pub fn gnu_lines<N: AsRef<[u8]>, D: AsRef<str>>(digests: &[D], names: &[N]) -> Vec<u8> {
    assert_eq!(digests.len(), names.len());
    let lines = digests.iter().zip(names);
    lines
        .flat_map(|(digest, name)| {
            [digest.as_ref().as_bytes(), b"  ", name.as_ref(), b"\n"].concat()
        })
        .collect()
}

/// Small files and what `sha256sum` says about them; used by most tests.
pub struct Corpus {
    pub scratch: Scratch,
    pub names: Vec<String>,
    pub digests: Vec<String>,
}

impl Corpus {
    pub fn new(count: usize) -> Self {
        let scratch = Scratch::new();
        let names = scratch.files(count);
        let slices: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
        let digests = super::peers::digests("sha256", scratch.path(), &slices);
        Corpus {
            scratch,
            names,
            digests,
        }
    }

    pub fn dir(&self) -> &Path {
        self.scratch.path()
    }

    /// All names, one a line.
    pub fn list(&self) -> Vec<u8> {
        list(&self.names, b'\n')
    }

    /// What `ringmill hash -a sha256` prints for the list.
    pub fn expected(&self) -> Vec<u8> {
        gnu_lines(&self.digests, &self.names)
    }
}

/// Files with the most difficult names that Linux allows.
pub struct Hostile {
    pub scratch: Scratch,
    pub names: Vec<Vec<u8>>,
}

impl Hostile {
    pub fn new() -> Self {
        let scratch = Scratch::new();
        let mut names = hostile_names();
        // Sizes on both sides of common buffer sizes.
        let sizes = [
            0, 1, 63, 64, 65, 1023, 1024, 1025, 4095, 4096, 4097, 65_536, 65_537, 262_147,
        ];
        for (number, name) in names.iter().enumerate() {
            let size = sizes[number % sizes.len()];
            let bytes = if size == 0 {
                Vec::new()
            } else {
                content(number, size)
            };
            scratch.file(name, bytes);
        }
        for length in [4000, LONGEST_PATH] {
            names.push(deep_file(scratch.path(), length));
        }
        Hostile { scratch, names }
    }

    pub fn dir(&self) -> &Path {
        self.scratch.path()
    }

    pub fn names(&self) -> Vec<&[u8]> {
        self.names.iter().map(Vec::as_slice).collect()
    }

    /// The names that a list with one name a line can hold.
    pub fn line_names(&self) -> Vec<&[u8]> {
        self.names()
            .into_iter()
            .filter(|name| !name.contains(&b'\n'))
            .collect()
    }
}

fn hostile_names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = [
        &b"plain"[..],
        b" leading space",
        b"trailing space ",
        b" ",
        b"two  spaces",
        b"tab\there",
        b"new\nline",
        b"\nnewline first",
        b"newline last\n",
        b"\n",
        b"back\\slash",
        b"\\backslash first",
        b"backslash last\\",
        b"\\",
        b"\\n is not a newline",
        b"carriage\rreturn",
        b"\r",
        b"line end\r\n",
        b"all\\of\nthem\r",
        b"-dash",
        b"--tag",
        b"--",
        b"*",
        b"?[a-z]{b,c}",
        b"'single'",
        b"\"double\"",
        b"`tick` $(x) ${y} $z",
        b"&& ; | > < !",
        b"~",
        b"#hash",
        b"%s%n%d",
        b":",
        b"a=b",
        b"SHA256 (x) = 00",
        b"name) = 00",
        b".hidden",
        b"..dots",
        b"\x01\x02control\x7f",
        b"\x1b[31mred\x1b[0m",
        b"caf\xe9 in Latin-1",
        b"\xff\xfe\xfd",
        b"\xc3",
        b"\xed\xa0\x80 is a surrogate",
        "\u{feff}byte order mark".as_bytes(),
        "\u{202e}right to left".as_bytes(),
        "emoji \u{1f980}\u{200d}\u{1f3fd}".as_bytes(),
        "\u{2028}line separator".as_bytes(),
        "e\u{301} is not \u{e9}".as_bytes(),
    ]
    .into_iter()
    .map(<[u8]>::to_vec)
    .collect();
    names.push(vec![b'L'; 255]);
    names.push(vec![b'\\'; 255]);
    names.push(vec![b'\n'; 255]);
    names.push(vec![0xff; 255]);
    names
}

/// A file whose path relative to `root` has exactly `length` bytes, made step by step because no
/// call takes the absolute one.
fn deep_file(root: &Path, length: usize) -> Vec<u8> {
    let mode = Mode::from_raw_mode(0o755);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut dir = openat(CWD, root, flags, Mode::empty()).expect("open the root");
    let mut path = Vec::new();
    let mut step = length;
    while length - path.len() > 255 {
        // Neither a full component nor one that leaves nothing for the file's own name.
        let part = (length - path.len() - 2).min(254);
        let name = vec![b'a' + (step % 26) as u8; part];
        mkdirat(&dir, name.as_slice(), mode).expect("mkdirat");
        dir = openat(&dir, name.as_slice(), flags, Mode::empty()).expect("openat");
        path.extend_from_slice(&name);
        path.push(b'/');
        step += 1;
    }
    let name = vec![b'F'; length - path.len()];
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    let file = openat(&dir, name.as_slice(), flags, Mode::from_raw_mode(0o644)).expect("create");
    rustix::io::write(&file, format!("deep {length}").as_bytes()).expect("write");
    path.extend_from_slice(&name);
    path
}

#[test]
fn deep_files_have_the_length_they_promise() {
    let scratch = Scratch::new();
    for length in [300, 4000, LONGEST_PATH] {
        let path = deep_file(scratch.path(), length);
        assert_eq!(path.len(), length);
        assert!(
            path.split(|&byte| byte == b'/')
                .all(|part| (1..=255).contains(&part.len()))
        );
    }
}
