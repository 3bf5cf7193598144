//! An allocator that counts, over all threads: how much is held, how much was held at most, and how often it was asked.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

pub struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);
static REQUESTS: AtomicUsize = AtomicUsize::new(0);
static COPIED: AtomicUsize = AtomicUsize::new(0);

fn taken(bytes: usize) {
    REQUESTS.fetch_add(1, Relaxed);
    COPIED.fetch_add(bytes, Relaxed);
    MOST.fetch_max(HELD.fetch_add(bytes, Relaxed) + bytes, Relaxed);
}

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        taken(size);
        HELD.fetch_sub(layout.size(), Relaxed);
        unsafe { System.realloc(memory, layout, size) }
    }
}

/// What something has taken of the allocator.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taken {
    /// The most bytes that were held at once, beyond those held before.
    pub most: usize,
    /// Bytes still held in the end.
    pub kept: usize,
    /// How often memory was asked for: the steps of an evaluator that makes a value at each of them.
    pub requests: usize,
    /// Bytes asked for in all, which is what was copied.
    pub copied: usize,
}

/// Counts what `work` takes. One at a time: the counters are those of the process.
pub fn count<T>(work: impl FnOnce() -> T) -> (T, Taken) {
    let before = HELD.load(Relaxed);
    let (requests, copied) = (REQUESTS.load(Relaxed), COPIED.load(Relaxed));
    MOST.store(before, Relaxed);
    let result = work();
    let taken = Taken {
        most: MOST.load(Relaxed).saturating_sub(before),
        kept: HELD.load(Relaxed).saturating_sub(before),
        requests: REQUESTS.load(Relaxed) - requests,
        copied: COPIED.load(Relaxed) - copied,
    };
    (result, taken)
}
