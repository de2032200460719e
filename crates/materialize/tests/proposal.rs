//! The output of the proposal's example.

#[allow(dead_code, reason = "its `main` is not called")]
#[path = "../examples/proposal.rs"]
mod proposal;

use std::cell::RefCell;

#[tokio::test(start_paused = true)]
async fn the_printed_order() {
    let printed = RefCell::new(Vec::new());
    proposal::run(7, |line| printed.borrow_mut().push(line)).await;
    let expected = [
        // Three start at once, and a new one starts whenever one ends.
        "start 0",
        "start 1",
        "start 2", //
        "end 1",
        "start 3", //
        "end 2",
        "start 4", //
        "end 4",
        "start 5", //
        "end 3",
        "start 6", //
        // The first is the slowest. The results behind it come as soon as it ends.
        "end 0",
        "start 7", //
        "  result 0",
        "  result 1",
        "  result 2",
        "  result 3",
        "  result 4", //
        "end 6",
        "start 8", //
        "end 8",
        "start 9", //
        "end 5",
        "start 10", //
        "  result 5",
        "  result 6",
    ];
    assert_eq!(printed.into_inner(), expected);
}
