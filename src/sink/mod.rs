//! Results to bytes.

pub mod gnu;
pub mod jsonl;
pub mod messages;
