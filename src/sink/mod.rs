//! Output formats for results, and messages.

pub mod connect;
pub mod dns;
pub mod gnu;
mod json;
pub mod jsonl;
pub mod messages;
mod text;
