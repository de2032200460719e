//! End-to-end tests: the `ringmill` binary as a black box, on both engines.
//!
//! They need a few common tools to compare with (`sha256sum`, `b3sum`, `xxhsum`, …), FUSE, and root
//! for the parts that change the user id or mount a file system. `scripts/test` installs the tools
//! and becomes root. A missing tool is a failure, never a skip; only where the kernel has no loop
//! devices, or no FUSE, the tests of disks with bad blocks say so and do nothing.

mod all_resolvers;
mod calls;
mod connect;
mod dns;
mod dns_rows;
mod faults;
mod files;
mod forbidden;
mod formats;
mod http;
mod http_bodies;
mod http_faults;
mod http_politeness;
mod input;
mod limits;
mod massdns;
mod measurements;
mod names_in_trouble;
mod options;
mod order;
mod outputs;
mod own_jobs;
mod query_options;
mod records;
mod shortages;
mod signals;
mod storage;
mod streams;
mod stuck;
mod support;
mod swaps;
mod wildcards;
