//! Failovers alone, as many as asked for: nothing lost, nothing counted twice, nothing unnoticed. The suite has some of them among
//! the faults of `accounts`; a hundred take three minutes.

use super::accounts::{FAIL_OVER, account};
use crate::harness::{rounds, seed};

#[test]
#[ignore = "long: script/soak failovers"]
fn three_instances_are_exact_over_failovers() {
    let test = "three_instances_are_exact_over_failovers";
    account(test, seed("failovers"), rounds(100), |_| FAIL_OVER);
}
