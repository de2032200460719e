//! Outputs for results and measurements, with checks that none overwrites an input or another output.
//!
//! All outputs of a command are located before any is opened, opened before any is emptied, and emptied
//! only when no other check can fail.

mod inputs;
mod output;
mod place;
mod replace;

pub(super) use inputs::Input;
pub(super) use output::Output;

use super::setup_error::SetupError;
use crate::io::FileId;
use place::{Place, Standard};
use std::path::Path;

/// Opens all outputs without changing their content. Fails if one would overwrite an input or another
/// output.
pub(super) fn open(outputs: &mut [&mut Output], inputs: &[Input]) -> Result<(), SetupError> {
    for output in &mut *outputs {
        output.locate()?;
    }
    check(outputs, inputs)?;
    // Opening a FIFO may block for ever; no new file must be left behind then.
    outputs.sort_by_key(|output| !output.may_wait());
    let mut is_changed = false;
    for output in &mut *outputs {
        is_changed |= output.open()?;
    }
    // A path leads to another file than when it was located, or opening a file has changed its inode
    // number (overlayfs).
    match is_changed {
        true => check(outputs, inputs),
        false => Ok(()),
    }
}

/// True for a path that stands for a standard stream.
pub(super) fn is_standard(path: &Path) -> bool {
    Standard::named(path).is_some()
}

/// The regular files among the outputs.
pub(super) fn file_ids<'a>(outputs: impl IntoIterator<Item = &'a mut Output>) -> Vec<FileId> {
    let ids = outputs.into_iter().map(|output| output.file_id());
    ids.flatten().collect()
}

fn check(outputs: &[&mut Output], inputs: &[Input]) -> Result<(), SetupError> {
    for (count, output) in outputs.iter().enumerate() {
        for other in &outputs[..count] {
            check_pair(other, output)?;
        }
    }
    for input in inputs {
        check_input(outputs, input)?;
    }
    Ok(())
}

fn place_of(output: &Output) -> &Place {
    output.place.as_ref().expect("it has been located")
}

fn check_pair(one: &Output, other: &Output) -> Result<(), SetupError> {
    if [one, other].map(Output::standard) == [Some(Standard::Output); 2] {
        let (first, second) = (&one.what, &other.what);
        let message = format!("{second}: would mix with {first} on standard output");
        return Err(SetupError::new(message).hint("write one of them to a file"));
    }
    if place_of(one).clashes_with(place_of(other)) {
        let (first, second) = (&one.label, &other.label);
        let message = format!("{second}: the same file as {first}, which would be lost");
        return Err(SetupError::new(message).hint("each output needs a file of its own"));
    }
    Ok(())
}

fn check_input(outputs: &[&mut Output], input: &Input) -> Result<(), SetupError> {
    // A standard stream may be redirected to any input file; that is the user's choice. But a list that is
    // written to while it is read would never end.
    let is_of_concern = |output: &&&mut Output| {
        let has_content = place_of(output).content().is_some();
        has_content && (input.is_list() || output.standard().is_none())
    };
    let mut of_concern = outputs.iter().filter(is_of_concern).peekable();
    if of_concern.peek().is_none() {
        // There may be many inputs, and looking them up may be slow.
        return Ok(());
    }
    let Some(content) = input.content() else {
        return Ok(());
    };
    let Some(output) = of_concern.find(|output| place_of(output).content() == Some(content)) else {
        return Ok(());
    };
    let label = &output.label;
    let consequence = match output.standard() {
        None => "which would be lost",
        Some(_) => "so the run would read its own output",
    };
    let error = SetupError::new(format!("{label}: the same file as {input}, {consequence}"));
    Err(match input {
        Input::Measurements(_) => error.hint("write to another file, and rename it afterwards"),
        _ => error,
    })
}
