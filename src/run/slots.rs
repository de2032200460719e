//! The places for the items in flight in one loop.

use crate::engine::FileId;
use crate::error::Operation;
use crate::item::Item;

/// An item in flight.
pub(super) struct Occupant<S> {
    pub(super) item: Item,
    pub(super) state: S,
    pub(super) started_at_ns: u64,
    /// When the schedule meant it to start, if the run has a rate.
    pub(super) due_at_ns: Option<u64>,
    /// Operations submitted, or waiting under pressure.
    pub(super) outstanding: u16,
    /// The file it has open. One is all any job needs, and all the budget allows it.
    pub(super) file: Option<FileId>,
    pub(super) waits_for_buffer: bool,
    pub(super) last_operation: Operation,
    /// Its result is out. The slot only waits for the last completions.
    abandoned: bool,
}

impl<S> Occupant<S> {
    pub(super) fn new(item: Item, state: S, started_at_ns: u64, due_at_ns: Option<u64>) -> Self {
        Self {
            item,
            state,
            started_at_ns,
            due_at_ns,
            outstanding: 0,
            file: None,
            waits_for_buffer: false,
            last_operation: Operation::Open,
            abandoned: false,
        }
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned
    }
}

/// Slots, made as they are first needed and used again.
pub(super) struct Slots<S> {
    slots: Vec<Option<Occupant<S>>>,
    free: Vec<u32>,
    abandoned: usize,
}

impl<S> Slots<S> {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            abandoned: 0,
        }
    }

    /// Puts an item into a free slot.
    pub(super) fn insert(&mut self, occupant: Occupant<S>) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 slots")
        });
        self.slots[slot as usize] = Some(occupant);
        slot
    }

    /// The item in the slot.
    pub(super) fn get_mut(&mut self, slot: u32) -> &mut Occupant<S> {
        let occupant = self.slots[slot as usize].as_mut();
        occupant.expect("the slot is in use")
    }

    /// Frees the slot.
    pub(super) fn remove(&mut self, slot: u32) -> Occupant<S> {
        let occupant = self.slots[slot as usize].take();
        let occupant = occupant.expect("the slot is in use");
        self.abandoned -= usize::from(occupant.abandoned);
        self.free.push(slot);
        occupant
    }

    /// Gives the item up, which keeps its slot until the kernel has let go of everything.
    pub(super) fn abandon(&mut self, slot: u32) -> &mut Occupant<S> {
        self.abandoned += 1;
        let occupant = self.get_mut(slot);
        assert!(!occupant.abandoned, "an item is given up once");
        occupant.abandoned = true;
        occupant
    }

    /// Items in slots, those given up included.
    pub(super) fn taken(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Items that were given up.
    pub(super) fn abandoned(&self) -> usize {
        self.abandoned
    }

    /// Items that go on.
    pub(super) fn alive(&self) -> usize {
        self.taken() - self.abandoned
    }
}
