//! What commands that copy a registry say of the figures of archived entries, which nothing can count again.

use crate::log::Reach;
use std::ops::Range;

/// Those that are there and damaged.
pub fn damaged(figures: &[Reach]) -> Vec<String> {
    let of_log = |reach: &Reach| {
        let node = reach.from.node.clone();
        let words = |part: &Range<u64>| {
            format!("the figures of archived entries {node}/{} to before {} are damaged", part.start, part.end)
        };
        reach.unsound.iter().map(words).collect::<Vec<_>>()
    };
    figures.iter().flat_map(of_log).collect()
}

/// From where on all is or can be counted.
pub fn tell(figures: &[Reach]) {
    for Reach { from, .. } in figures {
        println!("statistics from: {from}");
        if from.index > 0 {
            eprintln!("canhbao: nothing is counted of the archived entries before {from}");
        }
    }
}
