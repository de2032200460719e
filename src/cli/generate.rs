//! The man page and completions, from the same definitions as the arguments.

use super::Outcome;
use super::arguments::{Arguments, Generate};
use crate::stats::document;
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use std::io::{self, Write};

pub(super) fn generate(what: Option<Generate>) -> Outcome {
    let mut text = Vec::new();
    if what.is_none_or(|what| write(what, &mut text).is_err()) {
        return Outcome::Unusable;
    }
    match io::stdout().write_all(&text) {
        Ok(()) => Outcome::AllWell,
        Err(_) => Outcome::Unusable,
    }
}

fn write(what: Generate, text: &mut Vec<u8>) -> io::Result<()> {
    let mut command = Arguments::command();
    let shell = match what {
        Generate::Man => return clap_mangen::Man::new(command).render(text),
        Generate::ManHash => return write_man_of("hash", command, text),
        Generate::ManDns => return write_man_of("dns", command, text),
        Generate::ManMerge => return write_man_of("merge", command, text),
        Generate::ManPlot => return write_man_of("plot", command, text),
        Generate::StatsSchema => return text.write_all(document::SCHEMA.as_bytes()),
        Generate::Bash => Shell::Bash,
        Generate::Zsh => Shell::Zsh,
        Generate::Fish => Shell::Fish,
    };
    clap_complete::generate(shell, &mut command, "ringmill", text);
    Ok(())
}

fn write_man_of(subcommand: &str, mut command: Command, text: &mut Vec<u8>) -> io::Result<()> {
    command.build();
    let found = command.find_subcommand(subcommand);
    let found = found.expect("it is defined").clone();
    let version = concat!("ringmill ", env!("CARGO_PKG_VERSION"));
    clap_mangen::Man::new(found).source(version).render(text)
}
