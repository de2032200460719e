//! Man pages and completions, generated from the definitions of the arguments.

use super::arguments::{Arguments, Generate};
use super::help::{self, Texts};
use super::outcome::Outcome;
use crate::stats::document;
use clap::{Arg, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use std::io::{self, Write};

/// All man pages. Each refers to the others.
const PAGES: [&str; 6] = [
    "ringmill",
    "ringmill-hash",
    "ringmill-dns",
    "ringmill-connect",
    "ringmill-merge",
    "ringmill-plot",
];

pub(super) fn generate(what: Option<Generate>) -> Outcome {
    let mut text = Vec::new();
    if what.is_none_or(|what| write(what, &mut text).is_err()) {
        return Outcome::RunFailed;
    }
    match io::stdout().write_all(&text) {
        Ok(()) => Outcome::AllWell,
        Err(_) => Outcome::RunFailed,
    }
}

fn write(what: Generate, text: &mut Vec<u8>) -> io::Result<()> {
    let mut command = Arguments::definition();
    let shell = match what {
        Generate::Man => {
            // There is no page for `ringmill help`.
            let mut command = command.disable_help_subcommand(true);
            command.build();
            return write_man(&command, &help::RINGMILL, text);
        }
        Generate::ManHash => return write_man_of("hash", command, &help::HASH, text),
        Generate::ManDns => return write_man_of("dns", command, &help::DNS, text),
        Generate::ManConnect => {
            return write_man_of("connect", command, &help::CONNECT, text);
        }
        Generate::ManHttp => return write_man_of("http", command, &help::HTTP, text),
        Generate::ManMerge => return write_man_of("merge", command, &help::MERGE, text),
        Generate::ManPlot => return write_man_of("plot", command, &help::PLOT, text),
        Generate::StatsSchema => return text.write_all(document::SCHEMA.as_bytes()),
        Generate::Bash => Shell::Bash,
        Generate::Zsh => Shell::Zsh,
        Generate::Fish => Shell::Fish,
    };
    clap_complete::generate(shell, &mut command, "ringmill", text);
    Ok(())
}

fn write_man_of(
    subcommand: &str,
    mut command: Command,
    texts: &Texts,
    page: &mut Vec<u8>,
) -> io::Result<()> {
    command.build();
    let found = command.find_subcommand(subcommand);
    write_man(found.expect("it is defined"), texts, page)
}

fn write_man(command: &Command, texts: &Texts, page: &mut Vec<u8>) -> io::Result<()> {
    // Otherwise, options that `-h` leaves out have no description.
    let command = command
        .clone()
        .mut_args(|option| option.hide_short_help(false));
    let version = concat!("ringmill ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).source(version);
    man.render_title(page)?;
    man.render_name_section(page)?;
    synopsis(&command).to_writer(page)?;
    man.render_description_section(page)?;
    notes(texts).to_writer(page)?;
    man.render_options_section(page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(page)?;
    }
    let name = command.get_display_name().unwrap_or("ringmill");
    last_sections(&command, texts, name).to_writer(page)
}

/// Every option with the name of its value.
fn synopsis(command: &Command) -> Roff {
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let mut line = vec![bold(name)];
    let groups: Vec<_> = command
        .get_groups()
        .filter(|group| group.is_required_set())
        .collect();
    let is_in_group = |option: &Arg| {
        groups
            .iter()
            .any(|group| group.get_args().any(|id| id == option.get_id()))
    };
    let options = command
        .get_arguments()
        .filter(|option| !option.is_positional() && !option.is_hide_set());
    let (required, optional): (Vec<&Arg>, Vec<&Arg>) =
        options.partition(|option| is_in_group(option));
    for option in optional {
        line.push(roman(" ["));
        line.extend(option_and_value(option));
        line.push(roman("]"));
    }
    for (place, option) in required.iter().enumerate() {
        line.push(roman(if place == 0 { " {" } else { " | " }));
        line.extend(option_and_value(option));
        if place + 1 == required.len() {
            line.push(roman("}"));
        }
    }
    for argument in command.get_positionals() {
        let (start, end) = match argument.is_required_set() {
            true => (" ", "..."),
            false => (" [", "...]"),
        };
        line.extend([roman(start), italic(value_name(argument)), roman(end)]);
    }
    if command.has_subcommands() {
        line.extend([roman(" "), italic("COMMAND")]);
    }
    let mut section = Roff::new();
    section.control("SH", ["SYNOPSIS"]).text(line);
    section
}

fn option_and_value(option: &Arg) -> Vec<Inline> {
    let mut pieces = Vec::new();
    if let Some(short) = option.get_short() {
        pieces.push(bold(format!("-{short}")));
    }
    if let Some(long) = option.get_long() {
        if !pieces.is_empty() {
            pieces.push(roman("|"));
        }
        pieces.push(bold(format!("--{long}")));
    }
    if option.get_action().takes_values() {
        pieces.extend([roman(" "), italic(value_name(option))]);
    }
    pieces
}

fn value_name(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    names.join(" ")
}

fn notes(texts: &Texts) -> Roff {
    let mut paragraphs = Roff::new();
    for note in texts.notes {
        paragraphs.control("PP", []).text([roman(*note)]);
    }
    paragraphs
}

/// The sections that do not come from the definitions of the arguments.
fn last_sections(command: &Command, texts: &Texts, name: &str) -> Roff {
    let mut sections = Roff::new();
    sections.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in texts.exit_status {
        sections
            .control("TP", [])
            .text([bold(*code)])
            .text([roman(*meaning)]);
    }
    let from_environment = command.get_opts().filter_map(|option| {
        let variable = option.get_env()?.to_string_lossy().into_owned();
        Some((variable, option.get_long()?))
    });
    for (place, (variable, option)) in from_environment.enumerate() {
        if place == 0 {
            sections.control("SH", ["ENVIRONMENT"]);
        }
        sections.control("TP", []).text([bold(variable)]).text([
            roman("The value of "),
            bold(format!("--{option}")),
            roman(" if that option is not given. An empty value counts as not set."),
        ]);
    }
    if !texts.examples.is_empty() {
        sections.control("SH", ["EXAMPLES"]);
        sections.control("nf", []);
        for example in texts.examples {
            sections.text([roman(*example)]);
        }
        sections.control("fi", []);
    }
    let others = PAGES.iter().filter(|page| **page != name);
    let others: Vec<String> = others.map(|page| format!("{page}(1)")).collect();
    sections
        .control("SH", ["SEE ALSO"])
        .text([roman(others.join(", "))]);
    sections
}
