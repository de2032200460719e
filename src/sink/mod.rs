//! Results to bytes.

pub mod dns;
pub mod gnu;
pub mod jsonl;
pub mod messages;
