//! End-to-end tests: the `ringmill` binary as a black box, on both engines.
//!
//! They need a few common tools to compare with (`sha256sum`, `b3sum`, `xxhsum`, …), FUSE, and root
//! for the parts that change the user id or mount a file system. `scripts/test` installs the tools
//! and becomes root. A missing tool is a failure, never a skip.

mod dns;
mod faults;
mod files;
mod forbidden;
mod formats;
mod input;
mod limits;
mod measurements;
mod options;
mod order;
mod signals;
mod streams;
mod support;
