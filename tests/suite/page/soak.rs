//! A tab that stays open: `script/soak page` has it open for as long as it is told, the suite for a moment.

use serde_json::json;
use tempfile::TempDir;

use super::{check, tools, with_a_past};
use crate::harness::rounds;

#[test]
fn a_tab_that_stays_open_does_not_grow() {
    let Some(tools) = tools("a_tab_that_stays_open_does_not_grow") else {
        return;
    };
    let home = TempDir::new().unwrap();
    let (setup, mut known) = with_a_past(&home);
    let server = setup.start();
    let minutes = rounds(0);
    known["seconds"] = json!(if minutes == 0 { 20 } else { minutes * 60 });
    // Beside other tests the work of the first seconds says nothing.
    known["claimWork"] = json!(minutes > 0);
    check("soak", &tools, &server, &setup, known);
    server.stop();
}
