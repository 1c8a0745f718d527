//! The BFCL data as its wheel ships it: fetched by the binary, loaded whole, judged as BFCL's own checker judges it.

use whetstone_tooluse::matching::{canonical, matches};
use whetstone_tooluse::tasks::{LoadOptions, load};

use crate::support::Lab;

/// The first accepted answers are right, but for the four rows whose answers contradict their own schema: BFCL's checker
/// refuses these same four.
#[test]
fn bfcl_is_fetched_and_its_own_answers_are_right() {
    let lab = Lab::new();
    lab.run(&["tasks", "show", "bfcl:simple_python", "--limit", "1"]).ok();
    let root = lab.data().join("bfcl");
    let options = LoadOptions { bfcl: Some(&root), ..LoadOptions::default() };
    for (category, n, odd) in [
        ("simple_python", 400, &[][..]),
        ("multiple", 200, &[]),
        ("parallel", 200, &[]),
        ("parallel_multiple", 200, &[]),
        ("live_simple", 258, &["live_simple_106-63-0", "live_simple_112-68-0"]),
        ("live_multiple", 1053, &["live_multiple_862-181-3", "live_multiple_964-207-0"]),
    ] {
        let set = load(&format!("bfcl:{category}"), &options).unwrap();
        assert_eq!((set.problems.len(), set.refused.len()), (n, 0), "{category}");
        let wrong = set.problems.iter().filter(|p| !matches(p, &canonical(p))).map(|p| p.id.as_str());
        assert_eq!(wrong.collect::<Vec<_>>(), odd, "{category}");
    }
}
