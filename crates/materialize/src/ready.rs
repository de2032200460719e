//! The set of woken slots: bits that wakers on any thread set, and that one task takes.
//!
//! Slots are grouped into blocks of `BITS × BITS`. A block has one word of bits per `BITS` slots,
//! and a summary with one bit per word, so that a turn with nothing to do reads one word per block.
//! A wake is one atomic operation; the first wake after the task has taken the bits needs up to two more.

use std::mem;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};

const BITS: usize = usize::BITS as usize;
const SLOTS_PER_BLOCK: usize = BITS * BITS;

// The state changes only by atomic swaps (and successful compare-exchanges), so each change sees
// everything that happened before the earlier ones.
/// No new bits are set. The task is in a turn, or its last poll returned a result, so it will read the
/// state again without being woken.
const AWAKE: u8 = 0;
/// No new bits are set, but the task waits and must be woken.
const ASLEEP: u8 = 1;
/// A summary became non-zero, and the task has not begun a round since.
const NOTIFIED: u8 = 2;

/// The state and the waker of the task that polls the futures.
#[derive(Debug)]
struct Parent {
    state: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

impl Parent {
    fn notify(&self) {
        if self.state.swap(NOTIFIED, Ordering::AcqRel) == ASLEEP {
            let waker = self.replace_waker(None);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Returns the previous waker instead of dropping it, because dropping a waker may run any code, which
    /// must not run while the lock is held.
    fn replace_waker(&self, new: Option<Waker>) -> Option<Waker> {
        mem::replace(
            &mut self.waker.lock().unwrap_or_else(PoisonError::into_inner),
            new,
        )
    }
}

#[derive(Debug)]
struct Block {
    /// Bit w is set after `words[w]` became non-zero.
    summary: AtomicUsize,
    words: [AtomicUsize; BITS],
    parent: Arc<Parent>,
}

impl Block {
    fn new(parent: Arc<Parent>) -> Self {
        Self {
            summary: AtomicUsize::new(0),
            words: [const { AtomicUsize::new(0) }; BITS],
            parent,
        }
    }

    /// Only the waker that makes a word or the summary non-zero continues to the next level: the bits of
    /// later wakers are taken together with its bit. If the task sees no bit and goes to sleep between the
    /// steps, the waker's last step wakes it.
    fn set(&self, slot: usize) {
        let (word, bit) = (slot / BITS, 1 << (slot % BITS));
        if self.words[word].fetch_or(bit, Ordering::AcqRel) == 0
            && self.summary.fetch_or(1 << word, Ordering::AcqRel) == 0
        {
            self.parent.notify();
        }
    }
}

/// The waker of a slot, for all futures that use the slot one after another. A waker that outlives its
/// future may wake a later one in the same slot, which is then polled once unnecessarily.
struct SlotWaker {
    block: Arc<Block>,
    slot: usize,
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.block.set(self.slot);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.block.set(self.slot);
    }
}

/// The task's side of the set.
#[derive(Debug)]
pub(crate) struct ReadySet {
    parent: Arc<Parent>,
    /// The state of `parent` was set to `ASLEEP`.
    slept: bool,
    blocks: Vec<Arc<Block>>,
    round: Round,
}

/// The progress of a round. The task visits the blocks in rounds, so that a slot which is woken again and
/// again does not delay the others.
#[derive(Debug)]
struct Round {
    is_over: bool,
    next_block: usize,
    block: usize,
    word: usize,
    /// Taken from the summary of `block`, not visited yet.
    summary: usize,
    /// Taken from `word` of `block`, not visited yet.
    bits: usize,
}

impl ReadySet {
    pub(crate) fn new() -> Self {
        let parent = Parent {
            state: AtomicU8::new(AWAKE),
            waker: Mutex::new(None),
        };
        let round = Round {
            is_over: true,
            next_block: 0,
            block: 0,
            word: 0,
            summary: 0,
            bits: 0,
        };
        Self {
            parent: Arc::new(parent),
            slept: false,
            blocks: Vec::new(),
            round,
        }
    }

    /// Makes the waker of a new slot. Slots are numbered from 0 without gaps.
    pub(crate) fn waker(&mut self, slot: usize) -> Waker {
        if slot / SLOTS_PER_BLOCK == self.blocks.len() {
            let block = Block::new(Arc::clone(&self.parent));
            self.blocks.push(Arc::new(block));
        }
        Waker::from(Arc::new(SlotWaker {
            block: Arc::clone(&self.blocks[slot / SLOTS_PER_BLOCK]),
            slot: slot % SLOTS_PER_BLOCK,
        }))
    }

    /// Takes one slot out of the set; `None` at the end of each round over all slots. A slot that is
    /// woken after the round has passed it is part of the next round.
    pub(crate) fn take(&mut self) -> Option<usize> {
        if self.round.is_over {
            // The load may be stale; the swap in `sleep` is not.
            if self.parent.state.load(Ordering::Relaxed) != NOTIFIED {
                return None;
            }
            // Bits that are set from now on notify again.
            self.parent.state.swap(AWAKE, Ordering::AcqRel);
            self.round.is_over = false;
        }
        let slot = self.round.take(&self.blocks);
        self.round.is_over = slot.is_none();
        slot
    }

    /// Must be called before a turn: until the next [`ReadySet::sleep`] no wake needs to reach the task.
    pub(crate) fn stay_awake(&mut self) {
        if mem::take(&mut self.slept) {
            // Fails if it was notified in the meantime.
            let state = &self.parent.state;
            let _ = state.compare_exchange(ASLEEP, AWAKE, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// From now on the wake of a slot wakes the task. If a slot was woken in the meantime, the task is woken
    /// at once.
    ///
    /// No wake is lost: a waker swaps the state after it has set its bits. If its swap comes before
    /// the one here, the task sees `NOTIFIED`. If it comes later, the waker sees `ASLEEP` and finds the
    /// task's waker, which was stored before the swap.
    pub(crate) fn sleep(&mut self, cx: &Context<'_>) {
        if !self.round.is_over {
            cx.waker().wake_by_ref();
            return;
        }
        let waker = self
            .parent
            .waker
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_registered = waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()));
        drop(waker);
        if !is_registered {
            drop(self.parent.replace_waker(Some(cx.waker().clone())));
        }
        let state = &self.parent.state;
        if state.swap(ASLEEP, Ordering::AcqRel) == NOTIFIED {
            // Restores it, so that the next turn begins a round. A slot that is woken between the two
            // swaps wakes the task once more, which is harmless.
            state.swap(NOTIFIED, Ordering::AcqRel);
            cx.waker().wake_by_ref();
        } else {
            self.slept = true;
        }
    }
}

impl Round {
    fn take(&mut self, blocks: &[Arc<Block>]) -> Option<usize> {
        loop {
            if self.bits != 0 {
                let bit = take_lowest(&mut self.bits);
                return Some(self.block * SLOTS_PER_BLOCK + self.word * BITS + bit);
            }
            if self.summary != 0 {
                self.word = take_lowest(&mut self.summary);
                self.bits = blocks[self.block].words[self.word].swap(0, Ordering::AcqRel);
                continue;
            }
            let Some(block) = blocks.get(self.next_block) else {
                self.next_block = 0;
                return None;
            };
            self.block = self.next_block;
            self.next_block += 1;
            if block.summary.load(Ordering::Relaxed) != 0 {
                self.summary = block.summary.swap(0, Ordering::AcqRel);
            }
        }
    }
}

impl Drop for ReadySet {
    fn drop(&mut self) {
        // Wakers that outlive their futures must not keep the task alive.
        drop(self.parent.replace_waker(None));
    }
}

fn take_lowest(bits: &mut usize) -> usize {
    let lowest = bits.trailing_zeros() as usize;
    *bits &= *bits - 1;
    lowest
}
