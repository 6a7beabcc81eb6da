//! What the table of calls says holds for each of them.

use super::super::contract::{Limit, calls};
use super::*;
use crate::metrics::Route;

#[test]
fn an_unknown_parameter_is_refused_on_every_call_and_changes_nothing() {
    let bench = Bench::new();
    bench.up("online", r#"{"value":7}"#).ok();
    for endpoint in calls() {
        let path = endpoint.path.replace("{name}", "online");
        let line = format!("{} {path}?no_such=true", endpoint.method.as_str());
        let detail = bench.ask(&line, ADMIN, "").refused(400, "invalid_query")["detail"].clone();
        let detail = detail.as_str().unwrap();
        assert!(detail.contains("\"no_such\""), "{line}: {detail}");
    }
    let up = |query: &str| {
        let path = format!("POST /api/v1/counter/online/increment?{query}");
        bench.ask(&path, "", "").refused(400, "invalid_query")["detail"].clone()
    };
    assert_eq!(
        up("value=5"),
        "unknown parameter \"value\"; send `value` as a field of the JSON body"
    );
    assert_eq!(up("x=1"), "unknown parameter \"x\"; this call takes none");
    // A parameter of the path is none behind `?`.
    assert_eq!(
        up("name=games"),
        "unknown parameter \"name\"; this call takes none"
    );
    // In the spelling that only the router understands, too.
    bench
        .ask("POST /api/v1/counter/%6Fnline/increment?value=5", "", "")
        .refused(400, "invalid_query");
    let near = bench.get("/api/v1/counters/all?prefx=o");
    assert_eq!(
        near.refused(400, "invalid_query")["detail"],
        "unknown parameter \"prefx\"; did you mean `prefix`?"
    );
    bench
        .get("/api/v1/counters/all?limit=1&limit=2")
        .refused(400, "invalid_query");
    assert_eq!(bench.get("/api/v1/counter/online").ok()["value"], 7);
    bench.end();
}

#[test]
fn a_token_is_asked_for_before_the_query_is_judged() {
    let bench = Bench::new();
    for line in [
        "POST /api/v1/counter/a/reset?x=1",
        "DELETE /api/v1/counter/a?x=1",
    ] {
        let refused = bench.ask(line, "", "").refused(401, "unauthorized");
        let detail = refused["detail"].as_str().unwrap();
        assert!(
            detail.starts_with("no token came with the request"),
            "{detail}"
        );
    }
    bench.end();
}

#[test]
fn other_methods_of_a_path_are_answered_with_those_it_has() {
    let bench = Bench::new();
    for endpoint in calls() {
        let path = endpoint.path.replace("{name}", "a");
        let refused = bench.ask(&format!("PATCH {path}"), "", "");
        refused.refused(405, "method_not_allowed");
        let allow = refused.head.split("allow: ").nth(1).unwrap();
        let allow: Vec<&str> = allow.lines().next().unwrap().split(',').collect();
        for other in calls().filter(|other| other.path == endpoint.path) {
            assert!(allow.contains(&other.method.as_str()), "{path}: {allow:?}");
        }
    }
    bench.end();
}

#[test]
fn an_empty_body_has_no_type() {
    let bench = Bench::new();
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    for (number, endpoint) in calls().enumerate() {
        if endpoint.limit == Limit::NoBody || endpoint.method == "GET" {
            continue;
        }
        let path = endpoint.path.replace("{name}", &format!("c{number}"));
        let line = format!("{} {path}", endpoint.method.as_str());
        let headers = format!("{form}{ADMIN}");
        let empty = bench.ask(&line, &headers, "");
        assert_ne!(empty.status, 415, "{line}: {}", empty.body);
        bench
            .ask(&line, &headers, "value=5")
            .refused(415, "unsupported_media_type");
    }
    let up = bench.ask("POST /api/v1/counter/a/increment", form, "");
    assert_eq!(up.ok()["current_value"], 1);
    bench.end();
}

#[test]
fn lists_of_names_and_missing_names_are_pointed_to_the_right_path() {
    let bench = Bench::new();
    let several = bench
        .get("/api/v1/counter/a,b")
        .refused(400, "invalid_name");
    assert!(
        several["detail"]
            .as_str()
            .unwrap()
            .contains("/api/v1/counters?names=")
    );
    for path in ["/api/v1/counter", "/api/v1/counter/"] {
        let none = bench.get(path).refused(404, "not_found");
        assert!(
            none["detail"]
                .as_str()
                .unwrap()
                .contains("/api/v1/counters?names=")
        );
    }
    bench.end();
}

#[test]
fn keys_tell_numbers_apart_that_no_float_holds() {
    let bench = Bench::new();
    let keyed = |number: &str| {
        let body = format!("{{\"metadata\":{{\"score\":{number}}}}}");
        let line = "POST /api/v1/counter/a/increment";
        bench.ask(line, "idempotency-key: k\r\n", &body)
    };
    keyed("18446744073709551617").ok();
    keyed("18446744073709551617").ok();
    for other in ["18446744073709551616", "18446744073709551617.0"] {
        keyed(other).refused(422, "idempotency_key_reused");
    }
    for bad in [r#"{"a":1,"a":1}"#, r#"{"a":"\ud800"}"#] {
        bench
            .up("a", &format!("{{\"metadata\":{bad}}}"))
            .refused(400, "invalid_json");
    }
    let operations = r#"{"operations":[{"op":"increment","name":"a","metadata":{"a":1,"a":1}}]}"#;
    let refused = bench.ask("POST /api/v1/batch", "", operations);
    assert_eq!(refused.refused(400, "invalid_json")["index"], 0);
    assert_eq!(bench.get("/api/v1/counter/a").ok()["value"], 1);
    bench.end();
}

#[test]
fn a_user_id_that_is_a_number_is_told_to_be_a_string() {
    let bench = Bench::new();
    for user in ["12345", "1.5", "true", "[]", "{}"] {
        let refused = bench.up("dau", &format!("{{\"user_id\":{user}}}"));
        assert_eq!(
            refused.refused(400, "invalid_user_id")["detail"],
            "`user_id` must be a JSON string, in quotes",
            "{user}"
        );
    }
    bench.end();
}

#[test]
fn probes_and_scrapes_get_no_line_in_the_log() {
    for route in Route::ALL {
        let quiet = matches!(route, Route::Livez | Route::Readyz | Route::Metrics);
        let logged = super::super::contract::is_logged(route);
        assert_eq!(logged, !quiet, "{}", route.as_str());
    }
}

#[test]
fn each_operation_of_a_batch_may_be_judged_by_itself() {
    let bench = Bench::new();
    bench.up("online", r#"{"value":2}"#).ok();
    let operations = json!([
        {"op": "decrement", "name": "online", "value": 3},
        {"op": "increment", "name": "online"},
        {"op": "increment", "name": "dau"},
        {"op": "decrement", "name": "nobody"},
        {"op": "increment", "name": "dau", "user_id": "u1"},
        {"op": "increment", "name": "dau", "user_id": "u1"},
        {"op": "decrement", "name": "online", "value": 3},
        {"op": "decrement", "name": "games"},
    ]);
    let batch = |mode: &str, key: &str| {
        let body = json!({"operations": operations, "mode": mode}).to_string();
        let headers = format!("idempotency-key: {key}\r\n");
        bench.ask("POST /api/v1/batch", &headers, &body)
    };
    batch("all", "k1").refused(409, "batch_refused");
    assert_eq!(bench.get("/api/v1/counter/online").ok()["value"], 2);
    let first = batch("each", "k2");
    let answer = first.ok();
    let results = answer["results"].as_array().unwrap();
    let said: Vec<Value> = results
        .iter()
        .map(|result| {
            result
                .get("code")
                .or(result.get("current_value"))
                .unwrap()
                .clone()
        })
        .collect();
    let wanted = json!([
        "below_minimum",
        3,
        "missing_user_id",
        "unknown_counter",
        1,
        1,
        0,
        "wrong_kind"
    ]);
    assert_eq!(Value::from(said), wanted);
    assert_eq!(answer["refused"], 4);
    assert_eq!(
        (&results[0]["current"], &results[0]["counted"]),
        (&json!(2), &json!(false))
    );
    assert_eq!(bench.get("/api/v1/counter/online").ok()["value"], 0);
    bench
        .get("/api/v1/counter/nobody")
        .refused(404, "unknown_counter");
    // Under its key the same is answered again, refusals too; and the mode is part of the request.
    let again = batch("each", "k2");
    assert_eq!(again.body, first.body);
    assert!(
        again.head.contains("idempotency-replayed: true\r\n"),
        "{}",
        again.head
    );
    batch("all", "k2").refused(422, "idempotency_key_reused");
    for bad in [json!("some"), json!(1), json!(["each"])] {
        let body = json!({"operations": operations, "mode": bad}).to_string();
        bench
            .ask("POST /api/v1/batch", "", &body)
            .refused(400, "invalid_batch");
    }
    bench.end();
}

#[test]
fn a_page_under_a_name_that_is_not_the_servers_may_neither_read_nor_write() {
    let bench = Bench::with(|options| options.hosts = Some(vec!["counters.example".to_owned()]));
    bench.up("a", "").ok();
    let from = |host: &str, line: &str| {
        let mut connection = bench.connect();
        let text = format!(
            "{line} HTTP/1.1\r\nhost: {host}\r\norigin: http://{host}\r\ncontent-length: 0\r\n\r\n"
        );
        connection.get_mut().write_all(text.as_bytes()).unwrap();
        receive(&mut connection).unwrap()
    };
    // Its files are sent, so that the page can say what is wrong; browsers name the origin for scripts.
    let script = from("evil.example:8080", "GET /page/app.js");
    assert_eq!(script.status, 200, "{}", script.head);
    for endpoint in calls().filter(|endpoint| endpoint.route != Route::PageFile) {
        let line = format!(
            "{} {}",
            endpoint.method.as_str(),
            endpoint.path.replace("{name}", "a")
        );
        from("evil.example:8080", &line).refused(403, "origin_not_allowed");
    }
    for host in [
        "counters.example:8080",
        "localhost:8080",
        "127.0.0.1:8080",
        "[::1]:8080",
    ] {
        from(host, "GET /api/v1/counter/a").ok();
        from(host, "POST /api/v1/counter/a/increment").ok();
    }
    assert_eq!(bench.get("/api/v1/counter/a").ok()["value"], 5);
    bench.end();
}

#[test]
fn what_is_behind_readiness_is_told_to_those_who_may_read() {
    let bench = Bench::with(|options| {
        let mut tokens = Tokens::clone(&options.tokens.load());
        tokens.read = vec!["the-reader".to_owned().into()];
        options.tokens.store(Arc::new(tokens));
    });
    let verbose = |headers: &str| bench.ask("GET /readyz?verbose", headers, "").ok();
    assert_eq!(verbose(""), json!({"status": "ok"}));
    assert_eq!(
        verbose("authorization: Bearer wrong\r\n"),
        json!({"status": "ok"})
    );
    for headers in ["authorization: Bearer the-reader\r\n", ADMIN] {
        assert!(verbose(headers)["epoch"].is_u64());
    }
    bench.end();
}

#[test]
fn counters_of_a_prefix_are_deleted_after_a_dry_run() {
    let bench = Bench::new();
    for number in 0..30 {
        bench.up(&format!("typo:{number}"), "").ok();
    }
    bench.up("typing", "").ok();
    bench.up("games", "").ok();
    let call = |query: &str, headers: &str| {
        bench.ask(&format!("DELETE /api/v1/counters?{query}"), headers, "")
    };
    call("prefix=typo:", "").refused(401, "unauthorized");
    for bad in ["prefix=", "dry_run=true", "prefix=a&dry_run=maybe"] {
        call(bad, ADMIN).refused(400, "invalid_query");
    }
    let keyed = format!("{ADMIN}idempotency-key: k\r\n");
    call("prefix=typo:", &keyed).refused(400, "invalid_idempotency_key");
    let dry = call("prefix=typo:&dry_run=true", ADMIN).ok();
    assert_eq!(dry["deleted"].as_array().unwrap().len(), 30);
    assert_eq!(bench.get("/api/v1/counter/typo:0").ok()["value"], 1);
    let done = call("prefix=typo:", ADMIN).ok();
    assert_eq!(
        (&done["deleted"], &done["failed"]),
        (&dry["deleted"], &json!([]))
    );
    bench
        .get("/api/v1/counter/typo:0")
        .refused(410, "counter_deleted");
    assert_eq!(bench.get("/api/v1/counter/typing").ok()["value"], 1);
    // What the configuration defines stays, and is named.
    let kept = call("prefix=ga", ADMIN).ok();
    assert_eq!(
        (&kept["kept"], &kept["deleted"]),
        (&json!(["games"]), &json!([]))
    );
    assert_eq!(call("prefix=typo:", ADMIN).ok()["deleted"], json!([]));
    bench.end();
}

#[test]
fn every_field_of_the_contract_is_one_of_the_body() {
    let bench = Bench::new();
    bench.up("online", "").ok();
    for endpoint in calls().filter(|call| !call.fields().is_empty()) {
        let path = endpoint.path.replace("{name}", "online");
        let line = format!("{} {path}", endpoint.method.as_str());
        let fields = endpoint.fields();
        let nulls: Vec<String> = fields.iter().map(|f| format!("\"{f}\":null")).collect();
        let reply = bench.ask(&line, ADMIN, &format!("{{{}}}", nulls.join(",")));
        let code = &reply.json()["code"];
        let is_known = code != "unknown_field" && code != "invalid_json";
        assert!(is_known, "{line}: {}", reply.body);
        let unknown = bench.ask(&line, ADMIN, r#"{"zzz":1}"#);
        let detail = unknown.refused(400, "unknown_field")["detail"].clone();
        for field in &fields {
            let named = format!("`{field}`");
            assert!(
                detail.as_str().unwrap().contains(&named),
                "{line}: {detail}"
            );
        }
    }
    bench.end();
}

#[test]
fn an_empty_parameter_is_none_that_is_absent() {
    let bench = Bench::new();
    bench.up("online", "").ok();
    for query in [
        "counter/online/history?from=",
        "counter/online/history?to=",
        "counter/online/series?range=",
        "counter/online/series?step=",
        "counters/all?limit=",
        "stream?names=online&interval=",
        "stream?names=online&since=",
    ] {
        bench
            .get(&format!("/api/v1/{query}"))
            .refused(400, "invalid_query");
    }
    // These are beginnings of texts, which may be empty.
    bench.get("/api/v1/counters/all?prefix=&cursor=").ok();
    bench.end();
}

#[test]
fn one_end_of_a_history_is_never_after_the_other() {
    let bench = Bench::new();
    bench.up("online", "").ok();
    let days = |query: &str| {
        let answer = bench
            .get(&format!("/api/v1/counter/online/history?{query}"))
            .ok();
        answer["days"].as_array().unwrap().len()
    };
    assert_eq!(days(""), 1);
    assert_eq!(days("to=1633-05-31"), 0, "before all that is kept");
    assert_eq!(days("from=2099-01-01"), 0, "after today");
    assert_eq!(days("from=2026-11-24&to=2026-11-24"), 1);
    bench
        .get("/api/v1/counter/online/history?from=2026-11-25&to=2026-11-24")
        .refused(400, "invalid_query");
    bench.end();
}

#[test]
fn a_name_that_is_there_again_counts_for_the_limit() {
    let bench = Bench::new();
    bench.up("a", "").ok();
    let ask = |count: usize| {
        bench.get(&format!(
            "/api/v1/counters?names={}",
            vec!["a"; count].join(",")
        ))
    };
    assert_eq!(ask(10).ok()["counters"].as_array().unwrap().len(), 1);
    ask(11).refused(400, "invalid_query");
    bench.end();
}
