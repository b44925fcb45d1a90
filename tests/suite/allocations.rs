//! Counts what a thread takes from the heap. Shared with the benches.
#![allow(unsafe_code, reason = "an allocator is unsafe by its nature; this one only counts and passes on")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

struct Counting;

thread_local! {
    static TAKEN: Cell<(usize, isize)> = const { Cell::new((0, 0)) };
}

fn note(times: usize, bytes: isize) {
    // A thread that is ending has no counter any more.
    let _ = TAKEN.try_with(|taken| {
        let (so_far, all) = taken.get();
        taken.set((so_far + times, all + bytes));
    });
}

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(1, layout.size() as isize);
        // SAFETY: passed on as it came.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        note(0, -(layout.size() as isize));
        // SAFETY: passed on as it came.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How often this thread took memory so far, and how many bytes it holds.
pub(crate) fn taken() -> (usize, isize) {
    TAKEN.with(Cell::get)
}
