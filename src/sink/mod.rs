//! Output formats for results, and messages.

pub mod connect;
pub mod dns;
pub mod gnu;
pub mod http;
mod json;
pub mod jsonl;
pub mod messages;
mod text;
