//! What is served from each copy.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Copies, claim_stale, count_a_little, damage, mode, setup, wait_for_copies};
use crate::harness::{PATIENCE, at_once, eventually};

#[test]
fn without_a_store_values_come_from_redis_else_from_postgresql_and_writes_are_refused() {
    let Some(mut copies) = Copies::new(
        "without_a_store_values_come_from_redis_else_from_postgresql_and_writes_are_refused",
    ) else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let setup = setup(home.path(), &copies);
    let server = setup.start();
    count_a_little(&server, &copies);
    let before = server.client().get("/api/v1/counter/sum.daily").ok();
    server.kill9();
    let (log, whole) = damage(&setup);

    let server = setup.start();
    let mut client = server.client();
    let of_store = |reading: &serde_json::Value| {
        [
            "name",
            "value",
            "last_updated",
            "kind",
            "reset",
            "revision",
            "epoch",
            "period",
            "resets_at",
        ]
        .map(|field| reading[field].clone())
    };
    for source in ["redis", "postgres"] {
        if source == "postgres" {
            copies.redis.kill();
            eventually("PostgreSQL stands in", PATIENCE, || {
                let reading = client.get("/api/v1/counter/gauge").json();
                (reading["source"] == "postgres").then_some(())
            });
        }
        let reading = client.get("/api/v1/counter/sum.daily").ok();
        claim_stale(&reading, 30, source);
        assert_eq!(of_store(&reading), of_store(&before), "{source}");
        claim_stale(&client.get("/api/v1/counter/gauge").ok(), 7, source);
        claim_stale(&client.get("/api/v1/counter/users").ok(), 2, source);
        let response = client.get("/api/v1/counter/gauge");
        assert_eq!(response.header("cache-control"), Some("no-store"));
        // Neither what is not known nor what is gone is 0.
        for name in ["nobody", "going"] {
            let response = client.get(&format!("/api/v1/counter/{name}"));
            response.refused(503, "unknown_here");
            assert!(response.header("retry-after").is_some());
        }
        client
            .get("/api/v1/counters?names=nobody,going")
            .refused(503, "unknown_here");
        let many = client
            .get("/api/v1/counters?names=users,nobody,gauge,users")
            .ok();
        claim_stale(&many["counters"][0], 2, source);
        claim_stale(&many["counters"][1], 7, source);
        assert_eq!(many["counters"].as_array().unwrap().len(), 2);
        assert_eq!(
            (&many["unknown_here"], &many["missing"]),
            (&json!(["nobody"]), &json!([]))
        );
        assert_eq!(many["stale"], true);
        assert!(many["as_of"].is_string());
        let mut listed = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = client
                .get(&format!("/api/v1/counters/all?limit=2&cursor={cursor}"))
                .ok();
            assert_eq!(page["stale"], true);
            for counter in page["counters"].as_array().unwrap() {
                assert_eq!(counter["source"], source);
                listed.push(counter["name"].as_str().unwrap().to_owned());
            }
            match page["next_cursor"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => break,
            }
        }
        let names = [
            "active_users_1h",
            "daily_active_users",
            "gauge",
            "online_players",
            "sum.daily",
            "total_games_played",
            "users",
        ];
        assert_eq!(listed, names, "{source}");
        let with_prefix = client.get("/api/v1/counters/all?prefix=sum").ok();
        assert_eq!(with_prefix["counters"].as_array().unwrap().len(), 1);

        let standing = mode(&mut client);
        assert_eq!(standing["mode"], "read_only", "{standing}");
        assert_eq!(standing["cause"], "no_store", "{standing}");
        assert!(standing["since"].is_string() && standing["remedy"].is_string());
        assert_eq!(standing["source"], source, "{standing}");
        assert!(standing["as_of"].is_string(), "{standing}");
        assert_eq!(client.get("/readyz").status, 200);
        client.get("/readyz?writes").refused(503, "read_only");
        assert_eq!(client.get("/livez").status, 200);
    }

    // In the order of judgement: what is wrong with a write is told first.
    client
        .post("/api/v1/counter/gauge/increment", &json!({"value": 0}))
        .refused(400, "invalid_value");
    let refused = client.post("/api/v1/counter/gauge/increment", &json!({}));
    assert_eq!(refused.refused(503, "read_only")["cause"], "no_store");
    assert!(refused.header("retry-after").is_some());
    client
        .post(
            "/api/v1/batch",
            &json!({"operations": [{"op": "increment", "name": "gauge"}]}),
        )
        .refused(503, "read_only");
    server
        .admin()
        .request("DELETE", "/api/v1/counter/gauge", &[], b"")
        .unwrap()
        .refused(503, "read_only");
    client
        .get("/api/v1/counter/gauge/series")
        .refused(503, "store_reopening");

    // Neither of them: nothing is made up, and what was asked for before is still told.
    copies.database.crash();
    eventually("nobody stands in", PATIENCE, || {
        (client.get("/readyz").status == 503).then_some(())
    });
    client
        .get("/api/v1/counter/gauge/history")
        .refused(503, "store_reopening");
    client
        .get("/api/v1/counter/another")
        .refused(503, "unknown_here");
    claim_stale(&client.get("/api/v1/counter/gauge").ok(), 7, "postgres");

    // The store is put right: from then on it is the store that is served.
    std::fs::write(log, whole).unwrap();
    eventually("the store is open", PATIENCE, || {
        (client.get("/readyz?writes").status == 200).then_some(())
    });
    let after = client.get("/api/v1/counter/sum.daily").ok();
    assert_eq!(
        (&after["stale"], &after["value"]),
        (&json!(false), &json!(30))
    );
    assert_eq!(
        client
            .post("/api/v1/counter/gauge/increment", &json!({}))
            .ok()["current_value"],
        8
    );
    let log = server.output();
    for line in [
        "read_only: writes are refused cause=\"no_store\"",
        "ended cause=\"no_store\" mode=\"normal\"",
    ] {
        assert_eq!(log.matches(line).count(), 1, "{line}\n{log}");
    }
    server.stop();
}

#[test]
fn a_mirror_that_was_emptied_is_not_believed_where_the_database_has_everything() {
    let Some(copies) =
        Copies::new("a_mirror_that_was_emptied_is_not_believed_where_the_database_has_everything")
    else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let setup = setup(home.path(), &copies);
    let server = setup.start();
    count_a_little(&server, &copies);
    server.kill9();
    damage(&setup);
    // As if the mirror had been filling it anew when the server was killed: some are there again.
    copies
        .redis
        .say::<()>("DEL counter:gauge counter:gauge:meta");
    copies.redis.say::<()>("HSET counterd:mirror complete 0");
    let server = setup.start();
    let mut client = server.client();
    claim_stale(&client.get("/api/v1/counter/gauge").ok(), 7, "postgres");
    // A row whose type is not what it should be is none.
    copies.redis.say::<()>("HSET counterd:mirror complete 1");
    copies.redis.say::<()>("SET counter:gauge seven");
    eventually("the mirror is believed again", PATIENCE, || {
        let reading = client.get("/api/v1/counter/sum.daily").ok();
        (reading["source"] == "redis").then_some(())
    });
    eventually("what is no number is none", PATIENCE, || {
        (client.get("/api/v1/counter/gauge").status == 503).then_some(())
    });
    server.stop();
}

#[test]
fn what_a_copy_says_has_ended_meanwhile_is_not_known() {
    let Some(mut copies) = Copies::new("what_a_copy_says_has_ended_meanwhile_is_not_known") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let setup = setup(home.path(), &copies);
    let server = setup.start();
    let end = json!({"kind": "gauge", "expires_at": "2099-01-07T00:00:00Z"});
    server.admin().define("event", &end);
    let mut client = server.client();
    let add = json!({"value": 5});
    client.post("/api/v1/counter/event/increment", &add).ok();
    count_a_little(&server, &copies);
    server.kill9();
    damage(&setup);

    let server = setup.start();
    let mut client = server.client();
    let both = "/api/v1/counters?names=event,gauge";
    for source in ["redis", "postgres"] {
        if source == "postgres" {
            copies.redis.kill();
        }
        eventually("it is served from there", PATIENCE, || {
            let reading = client.get("/api/v1/counter/event").json();
            (reading["source"] == source).then(|| claim_stale(&reading, 5, source))
        });
        // As if its time had been up by now: nobody is there to tell the copies.
        if source == "redis" {
            let past = "HSET counter:event:meta expires_at 2026-01-01T00:00:00.000Z";
            copies.redis.say::<()>(past);
        } else {
            copies.database.sql(
                "UPDATE counterd_counters SET expires_at = '2026-01-01' WHERE counter_name = 'event'",
            );
        }
        eventually("its time is over", PATIENCE, || {
            (client.get("/api/v1/counter/event").status == 503).then_some(())
        });
        client
            .get("/api/v1/counter/event")
            .refused(503, "unknown_here");
        let many = client.get(both).ok();
        assert_eq!(many["unknown_here"], json!(["event"]));
        claim_stale(&many["counters"][0], 7, source);
        let list = client.get("/api/v1/counters/all?prefix=e").ok();
        assert_eq!(list["counters"], json!([]));
    }
    server.stop();
}

#[test]
fn closed_days_are_read_from_postgresql() {
    let Some(copies) = Copies::new("closed_days_are_read_from_postgresql") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let setup = setup(home.path(), &copies);
    let server = setup.start();
    count_a_little(&server, &copies);
    server.kill9();
    damage(&setup);
    copies.database.sql(
        r#"INSERT INTO counter_history (counter_name, date, final_value, unique_users, metadata) VALUES
           ('gauge', '2026-11-20', 5, NULL, '{"date":"2026-11-20","closed":true,"final_value":5,"peak":9,"users":"inline"}'),
           ('gauge', '2026-11-21', 6, ARRAY['secret-user'], NULL)"#,
    );
    let server = setup.start();
    let mut client = server.client();
    let history = client.get("/api/v1/counter/gauge/history?from=2026-11-01&to=2026-11-30");
    assert!(!history.text().contains("secret-user"));
    let history = history.ok();
    assert_eq!(
        (&history["stale"], &history["source"]),
        (&json!(true), &json!("postgres"))
    );
    assert_eq!(
        history["days"][0],
        json!({"date": "2026-11-21", "closed": true, "final_value": 6})
    );
    assert_eq!(
        history["days"][1],
        json!({"date": "2026-11-20", "closed": true, "final_value": 5, "peak": 9})
    );
    client
        .get("/api/v1/counter/gauge/history?from=2026-11-01&to=2026-11-02")
        .refused(503, "unknown_here");
    client
        .get("/api/v1/counter/gauge/history?from=2026-11-02&to=2026-11-01")
        .refused(400, "invalid_query");
    server.stop();
}

#[test]
fn a_thousand_readers_ask_the_database_for_a_name_once_at_a_time() {
    let Some(mut copies) =
        Copies::new("a_thousand_readers_ask_the_database_for_a_name_once_at_a_time")
    else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    // So patient and so forgetful that a question takes its time and every reader needs one.
    let setup = setup(home.path(), &copies)
        .set("degraded.timeout", "30s")
        .set("degraded.cache_for", "10ms");
    let server = setup.start();
    count_a_little(&server, &copies);
    server.kill9();
    damage(&setup);
    copies.redis.kill();
    let server = setup.start();
    eventually("PostgreSQL stands in", PATIENCE, || {
        (server.client().get("/api/v1/counter/gauge").status == 200).then_some(())
    });
    // Each question waits until the table is let go.
    std::thread::scope(|scope| {
        let readers = scope.spawn(|| {
            at_once(1000, |_| {
                let mut client = server.client().with_timeout(Duration::from_secs(60));
                let reading = client.get("/api/v1/counter/gauge").ok();
                claim_stale(&reading, 7, "postgres");
            })
        });
        let holder = scope.spawn(|| {
            copies.database.sql(
                "BEGIN; LOCK TABLE counters IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(3); COMMIT",
            )
        });
        let mut most = 0;
        while !holder.is_finished() {
            let asking = copies.database.number(
                "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%JOIN counterd_counters%' AND state = 'active' AND pid <> pg_backend_pid()",
            );
            most = most.max(asking);
        }
        readers.join().unwrap();
        holder.join().unwrap();
        assert_eq!(most, 1, "questions to the database at once");
    });
    server.stop();
}

#[test]
fn no_question_of_one_reader_takes_a_copy_away_from_the_others() {
    let Some(copies) = Copies::new("no_question_of_one_reader_takes_a_copy_away_from_the_others")
    else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let setup = setup(home.path(), &copies).set("degraded.cache_for", "10ms");
    let server = setup.start();
    count_a_little(&server, &copies);
    server.kill9();
    damage(&setup);
    let server = setup.start();
    let mut client = server.client();
    // Neither what no name can be, nor a hole in the list, nor what is of another type.
    for odd in ["%00", "%C3%BC", &"a".repeat(101)] {
        let page = client
            .get(&format!("/api/v1/counters/all?prefix={odd}"))
            .ok();
        assert_eq!(page["counters"], json!([]));
        claim_stale(&client.get("/api/v1/counter/gauge").ok(), 7, "redis");
    }
    copies.redis.say::<()>("DEL counter:active_users_1h");
    let page = client.get("/api/v1/counters/all?limit=1").ok();
    assert_eq!(
        (&page["counters"], &page["next_cursor"]),
        (&json!([]), &json!("active_users_1h"))
    );
    copies.redis.say::<()>("DEL counterd:names");
    copies.redis.say::<()>("SET counterd:names x");
    client.get("/api/v1/counters/all");
    claim_stale(&client.get("/api/v1/counter/users").ok(), 2, "redis");
    server.stop();
}

#[test]
fn an_emptied_mirror_has_no_list_to_tell() {
    let Some(copies) = Copies::new("an_emptied_mirror_has_no_list_to_tell") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let setup = setup(home.path(), &copies);
    let server = setup.start();
    count_a_little(&server, &copies);
    server.kill9();
    damage(&setup);
    let server = setup.without("postgres.url").start();
    let mut client = server.client();
    let page = client.get("/api/v1/counters/all").ok();
    assert!(page["counters"].as_array().unwrap().len() > 3, "{page}");
    copies.redis.say::<()>("FLUSHALL");
    let refused = client.get("/api/v1/counters/all");
    assert_eq!(refused.status, 503, "{}", refused.text());
    server.stop();
}

#[test]
fn a_copy_that_is_behind_takes_nothing_back() {
    let Some(mut copies) = Copies::new("a_copy_that_is_behind_takes_nothing_back") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let setup = setup(home.path(), &copies);
    let server = setup.start();
    count_a_little(&server, &copies);
    server.kill9();
    damage(&setup);
    copies.database.sql(
        "UPDATE counters SET current_value = 5 WHERE name IN ('gauge', 'sum.daily');
         UPDATE counterd_counters SET revision = 1 WHERE counter_name IN ('gauge', 'sum.daily')",
    );
    let server = setup.start();
    let mut client = server.client();
    let known = client.get("/api/v1/counter/gauge").ok();
    claim_stale(&known, 7, "redis");
    copies.redis.kill();
    eventually("PostgreSQL stands in", PATIENCE, || {
        (mode(&mut client)["source"] == "postgres").then_some(())
    });
    assert_eq!(client.get("/api/v1/counter/gauge").ok(), known);
    let listed = client.get("/api/v1/counters/all?prefix=gauge").ok();
    assert_eq!(listed["counters"][0], known, "nor in a list");
    let listed = client.get("/api/v1/counters/all?prefix=sum.daily").ok();
    claim_stale(&listed["counters"][0], 5, "postgres");
    claim_stale(&client.get("/api/v1/counter/sum.daily").ok(), 5, "postgres");
    // Of several, those that are known are told though no copy answers any more.
    copies.database.crash();
    eventually("nobody stands in", PATIENCE, || {
        (client.get("/readyz").status == 503).then_some(())
    });
    let many = client.get("/api/v1/counters?names=gauge,another").ok();
    assert_eq!(
        (&many["counters"][0]["value"], &many["unknown_here"]),
        (&json!(7), &json!(["another"]))
    );
    server.stop();
}

#[test]
fn what_others_wrote_into_the_copies_harms_no_other_counter() {
    let Some(mut copies) = Copies::new("what_others_wrote_into_the_copies_harms_no_other_counter")
    else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let setup = setup(home.path(), &copies);
    let server = setup.start();
    count_a_little(&server, &copies);
    server.kill9();
    damage(&setup);
    copies.redis.ask::<()>(
        redis::cmd("SET")
            .arg("counter:users")
            .arg(&[0xff_u8, 0xfe][..]),
    );
    copies
        .redis
        .ask::<()>(redis::cmd("SET").arg("counter:sum.daily:meta").arg("x"));
    copies.database.sql(
        "UPDATE counters SET updated_at = 'infinity' WHERE name = 'users';
         UPDATE counterd_counters SET period = 'infinity' WHERE counter_name = 'sum.daily';
         INSERT INTO counter_history (counter_name, date, final_value, metadata) VALUES
           ('gauge', '2026-11-20', 5, '7'), ('gauge', '2026-11-21', 6, '[1]')",
    );
    let server = setup.start();
    let mut client = server.client();
    for source in ["redis", "postgres"] {
        let many = client
            .get("/api/v1/counters?names=users,sum.daily,gauge")
            .ok();
        claim_stale(&many["counters"][0], 7, source);
        assert_eq!(
            many["unknown_here"],
            json!(["users", "sum.daily"]),
            "{source}"
        );
        copies.redis.kill();
        eventually("PostgreSQL stands in", PATIENCE, || {
            let one = client.get("/api/v1/counter/gauge").ok();
            (one["source"] == "postgres").then_some(())
        });
    }
    let history = client
        .get("/api/v1/counter/gauge/history?from=2026-11-01&to=2026-11-30")
        .ok();
    assert_eq!(
        history["days"][1],
        json!({"date": "2026-11-20", "closed": true, "final_value": 5})
    );
    server.stop();
}

#[test]
fn windows_and_leases_are_copied_and_served_as_of_the_copy() {
    let Some(copies) = Copies::new("windows_and_leases_are_copied_and_served_as_of_the_copy")
    else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let setup = setup(home.path(), &copies);
    let server = setup.start();
    let mut admin = server.admin();
    admin.define("here", &json!({"kind": "presence", "ttl": "1h"}));
    admin.define("rounds", &json!({"kind": "sum", "window": "1h"}));
    let beat = json!({"user_id": "gs-17", "value": 63});
    admin.post("/api/v1/counter/here/heartbeat", &beat).ok();
    let three = json!({"value": 3});
    admin.post("/api/v1/counter/rounds/increment", &three).ok();
    wait_for_copies(&server, &copies);
    for (counter, value) in [("here", 63), ("rounds", 3)] {
        let copied: i64 = copies.redis.say(&format!("GET counter:{counter}"));
        assert_eq!(copied, value, "{counter}");
        let row = format!("SELECT current_value FROM counters WHERE name = '{counter}'");
        assert_eq!(copies.database.number(&row), value, "{counter}");
    }
    server.kill9();
    damage(&setup);
    let server = setup.start();
    let mut client = server.client();
    let here = client.get("/api/v1/counter/here").ok();
    claim_stale(&here, 63, "redis");
    assert_eq!(
        (&here["kind"], &here["leases"]),
        (&json!("presence"), &Value::Null)
    );
    claim_stale(&client.get("/api/v1/counter/rounds").ok(), 3, "redis");
    server.stop();
}
