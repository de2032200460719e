//! Questions that are each for one server: what whoever asks has to know of that.

use super::Resolver;
use crate::jobs::dns::question::Question;
use std::time::Duration;

impl Resolver {
    /// True if each question is for one server.
    #[must_use]
    pub fn pins_questions(&self) -> bool {
        self.settings.pins_questions
    }

    /// Asks a question of the server with this number and no other ([`Settings::pins_questions`](super::Settings::pins_questions)).
    pub fn ask_server(&mut self, asker: u32, question: Question, server: usize, now: Duration) {
        debug_assert!(self.settings.pins_questions);
        self.begin(asker, question, Some(server), now);
    }

    /// The next server whose room has changed, or that has become silent or has answered again, and how
    /// many more questions it could be asked at once. Only where questions are pinned.
    pub fn changed_room(&mut self) -> Option<(usize, usize)> {
        self.rooms.pop_changed()
    }

    /// True if the server is silent, as far as is known.
    #[must_use]
    pub fn is_silent(&self, server: usize) -> bool {
        self.servers[server].circuit.is_open()
    }

    /// Those who wait for an answer of this server, if it has been sent their question.
    #[must_use]
    pub fn askers_of(&self, server: usize) -> Vec<u32> {
        let places = self.sockets.queries_of(server).into_iter();
        let lookups = places.filter_map(|place| self.lookups[place as usize].as_ref());
        let askers = lookups.flat_map(|lookup| lookup.asker.iter().chain(&lookup.other_askers));
        askers.copied().collect()
    }
}
