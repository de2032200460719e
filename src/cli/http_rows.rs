//! How the results of `ringmill http` are printed.

use super::bodies::Bodies;
use super::hints::Hints;
use super::observer::Observer;
use super::stream::Rows;
use crate::digest::Algorithm;
use crate::error::ItemError;
use crate::item::Item;
use crate::jobs::http::{Body, Failure, Fetched, Found, Response, Step};
use crate::jobs::rendered::{Render, Row};
use crate::sink::gnu::{self, Layout};
use crate::sink::http::{write_jsonl, write_text};
use std::fs;

/// The cause that lines are counted under that are not requests.
const INVALID: &str = "invalid";

/// The form of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Jsonl,
    Text,
    /// The digest of the body, as `ringmill hash` prints it.
    Hash(Algorithm),
    /// The body.
    Body,
}

impl Form {
    /// The digest that it needs.
    pub(super) fn algorithm(self) -> Option<Algorithm> {
        match self {
            Self::Hash(algorithm) => Some(algorithm),
            _ => None,
        }
    }

    /// Appends the row.
    fn write(self, row: &mut Vec<u8>, item: &Item, found: &Found) -> Counted {
        match self {
            Self::Jsonl => write_jsonl(row, item, found),
            Self::Text => write_text(row, item, found),
            Self::Hash(algorithm) => {
                if let Some((digest, fetched)) = success(found, |response| response.digest.as_ref())
                {
                    let name = fetched.url.as_bytes();
                    gnu::write_line(row, Layout::default(), algorithm, digest, name);
                }
            }
            Self::Body => {
                let body = success(found, |response| response.body.as_ref());
                if let Some((Body::Memory(body), _)) = body {
                    row.extend_from_slice(body);
                }
            }
        }
        Counted::of(found, matches!(self, Self::Hash(_) | Self::Body))
    }
}

/// A part of the response of a request that succeeded.
fn success<'a, T>(
    found: &'a Found,
    part: impl FnOnce(&'a Response) -> Option<&'a T>,
) -> Option<(&'a T, &'a Fetched)> {
    let fetched = found.as_ref().ok().filter(|it| it.is_success())?;
    Some((part(fetched.response.as_ref()?)?, fetched))
}

/// What a row adds to the counts and messages.
pub(super) struct Counted {
    /// The length of the body, or the cause of the failure.
    result: Result<u64, String>,
    /// The failure in words, if the row does not say it.
    message: Option<String>,
}

impl Counted {
    fn of(found: &Found, has_message: bool) -> Self {
        let (result, message) = match found {
            Err(invalid) => (Err(INVALID.to_owned()), Some(invalid.to_string())),
            Ok(fetched) => {
                let status = || fetched.progress.status.unwrap_or_default();
                let result = match &fetched.failure {
                    Some(failure) => Err(failure.step.name().to_owned()),
                    None if status() >= 400 => Err(status().to_string()),
                    None => Ok(fetched
                        .response
                        .as_ref()
                        .map_or(0, |response| response.size)),
                };
                (result, fetched.problem())
            }
        };
        Self {
            result,
            message: message.filter(|_| has_message),
        }
    }
}

/// Renders rows on the loops.
pub(super) struct Renderer {
    pub(super) form: Form,
    /// Bodies are written to files before their rows.
    pub(super) writes_bodies: bool,
}

/// What is kept of a result besides its row.
pub(super) enum Note {
    Rendered(Counted),
    /// The row is not rendered yet.
    Waits(Box<Found>),
}

impl Render<Found> for Renderer {
    type Note = Note;

    fn render(&self, row: &mut Vec<u8>, item: &Item, found: Found) -> Note {
        let is_file = |response: &Response| matches!(response.body, Some(Body::File(_)));
        let response = found.as_ref().ok().and_then(|it| it.response.as_ref());
        match self.writes_bodies || response.is_some_and(is_file) {
            true => Note::Waits(Box::new(found)),
            false => Note::Rendered(self.form.write(row, item, &found)),
        }
    }

    fn bytes_held(note: &Note) -> usize {
        match note {
            Note::Rendered(_) => 0,
            Note::Waits(found) => found.as_ref().as_ref().map_or(0, Fetched::bytes_held),
        }
    }
}

/// Prints rows.
pub(super) struct HttpRows {
    form: Form,
    bodies: Option<Bodies>,
    hints: Hints,
}

impl HttpRows {
    pub(super) fn new(form: Form, bodies: Option<Bodies>, hints: Hints) -> Self {
        Self {
            form,
            bodies,
            hints,
        }
    }

    /// Gives the body of a result its place: in its file, or in memory for its row.
    fn place_body(&self, item: &Item, fetched: &mut Fetched) {
        let Some(response) = &mut fetched.response else {
            return;
        };
        let placed = match (response.body.take(), &self.bodies) {
            (Some(body), Some(bodies)) => bodies.write(item.index(), body),
            (Some(Body::File(file)), None) => {
                let path = file.into_path();
                let read = fs::read(&path).map(|bytes| response.body = Some(Body::Memory(bytes)));
                read.map_err(|error| format!("{}: {error}", path.display()))
            }
            (body, _) => {
                response.body = body;
                Ok(())
            }
        };
        if let Err(reason) = placed {
            let failure = || Failure::new(Step::Write, reason);
            fetched.failure.get_or_insert_with(failure);
        }
    }
}

impl Rows<Row<Note>> for HttpRows {
    fn write(
        &mut self,
        out: &mut Vec<u8>,
        item: &Item,
        result: Result<Row<Note>, ItemError>,
        observer: &mut Observer,
    ) {
        let Some(row) = observer.value_of(item, result) else {
            return;
        };
        let counted = match row.note {
            Note::Rendered(counted) => {
                out.extend_from_slice(&row.bytes);
                counted
            }
            Note::Waits(mut found) => {
                if let Ok(fetched) = found.as_mut() {
                    self.place_body(item, fetched);
                }
                self.form.write(out, item, &found)
            }
        };
        if counted.result.as_ref().is_err_and(|cause| cause == INVALID) {
            observer.hint(self.hints.about_line(item.bytes()));
        }
        if let Some(message) = &counted.message {
            observer.about_item(item.bytes(), message);
        }
        observer.count(counted.result);
    }
}
