//! The recipes of `docs/api.md` for players who log in and out over several connections.

use super::*;

const TOTAL: &str = "online_total";

fn batch(bench: &Bench, operations: &Value) -> Value {
    let body = json!({ "operations": operations }).to_string();
    bench.ask("POST /api/v1/batch", "", &body).ok()
}

fn value(bench: &Bench, name: &str) -> i64 {
    let read = bench.get(&format!("/api/v1/counter/{name}")).ok();
    read["value"].as_i64().unwrap()
}

#[test]
fn a_log_out_dropped_at_zero_leaves_a_player_online_for_good() {
    let bench = Bench::new();
    bench.up("online", "").ok();
    bench
        .ask("POST /api/v1/counter/online/decrement", "", "")
        .ok();
    let out = bench.ask("POST /api/v1/counter/online/decrement", "", "");
    out.refused(409, "below_minimum");
    bench.up("online", "").ok();
    assert_eq!(value(&bench, "online"), 1);
    bench.end();
}

#[test]
fn with_a_negative_minimum_ins_and_outs_come_in_any_order() {
    let bench = Bench::new();
    bench
        .define("online", &json!({"kind": "gauge", "min": -1_000_000}))
        .ok();
    let players = 200;
    std::thread::scope(|scope| {
        for call in ["decrement", "increment"] {
            let bench = &bench;
            scope.spawn(move || {
                for _ in 0..players {
                    bench
                        .ask(&format!("POST /api/v1/counter/online/{call}"), "", "")
                        .ok();
                }
            });
        }
    });
    assert_eq!(value(&bench, "online"), 0);
    bench.end();
}

#[test]
fn on_one_connection_a_log_out_comes_after_its_log_in() {
    let bench = Bench::new();
    let mut connection = bench.connect();
    for _ in 0..100 {
        for call in ["increment", "decrement"] {
            let line = format!("POST /api/v1/counter/online/{call}");
            connection
                .get_mut()
                .write_all(request(&line, "", "").as_bytes())
                .unwrap();
        }
    }
    for _ in 0..100 {
        assert_eq!(receive(&mut connection).unwrap().ok()["current_value"], 1);
        assert_eq!(receive(&mut connection).unwrap().ok()["current_value"], 0);
    }
    bench.end();
}

#[test]
fn a_gauge_for_each_game_server_is_taken_out_of_the_total_when_it_starts_again() {
    let bench = Bench::new();
    let moved = |op: &str, server: &str, by: i64| {
        let name = format!("{TOTAL}:{server}");
        batch(
            &bench,
            &json!([
                {"op": op, "name": name, "value": by},
                {"op": op, "name": TOTAL, "value": by},
            ]),
        );
    };
    for (server, players) in [("gs3", 7), ("gs4", 5)] {
        moved("increment", server, players);
    }
    moved("decrement", "gs3", 2);
    // gs3 falls over with five players on it, and starts again: it takes out what it had put in.
    let left = value(&bench, &format!("{TOTAL}:gs3"));
    assert_eq!(left, 5);
    moved("decrement", "gs3", left);
    assert_eq!(
        (value(&bench, &format!("{TOTAL}:gs3")), value(&bench, TOTAL)),
        (0, 5)
    );
    bench.end();
}
