//! Alerts of what all instances count: one of them judges and tells, and another goes on from where it was.

use serde_json::{Value, json};

use super::{agrees, log, patient};
use crate::alerting::{Receiver, came, judged, statuses};
use crate::harness::{PATIENCE, Redis, Server, Setup, eventually};

/// An instance on which a hard drop fires at once, and ends so much later.
fn watching(home: &tempfile::TempDir, redis: &Redis, receiver: &Receiver) -> Setup {
    let file = home.path().join("counterd.toml");
    let rules = "[[alert]]\nrule = \"drop_hard\"\nwithin = \"30s\"\nkeep_for = \"0s\"\n";
    std::fs::write(&file, rules).unwrap();
    let setup = patient(home, redis).set("alerts.webhook", &receiver.url());
    setup.arg("--config").arg(file.to_str().unwrap())
}

fn holder(redis: &Redis) -> String {
    eventually("an instance has the chores", PATIENCE, || {
        redis.say::<Option<String>>("GET {counterd:0}:lease")
    })
}

fn alerts(server: &Server) -> Value {
    server.client().get("/api/v1/alerts").ok()
}

#[test]
fn one_instance_tells_of_a_counter_and_another_goes_on_once_it_is_gone() {
    let test = "one_instance_tells_of_a_counter_and_another_goes_on_once_it_is_gone";
    let Some(redis) = log(test) else { return };
    let homes: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let receiver = Receiver::new(&[]);
    let named = |home, name| watching(home, &redis, &receiver).set("alerts.instance", name);
    let one = named(&homes[0], "one").start();
    let first = holder(&redis);
    let two = named(&homes[1], "two").start();
    let count = |server: &Server, what: &str, value: i64| {
        let path = format!("/api/v1/counter/online_players/{what}");
        server.client().post(&path, &json!({ "value": value })).ok();
    };
    count(&two, "increment", 1000);
    agrees(&[&one, &two], "online_players", 1000);
    judged(&one, 2);
    count(&two, "decrement", 900);
    came(&receiver, 1);
    let fired = alerts(&one)["alerts"][0].clone();
    assert_eq!(fired["rule"], "drop_hard");
    eventually("the other shows it too", PATIENCE, || {
        (alerts(&two)["alerts"][0]["fingerprint"] == fired["fingerprint"]).then_some(())
    });
    judged(&two, 3);
    assert_eq!(statuses(&receiver.came()), ["firing"]);
    // What was delivered is stored with the next look.
    judged(&one, 2);
    one.kill9();
    eventually("the other has the chores", PATIENCE, || {
        (holder(&redis) != first).then_some(())
    });
    came(&receiver, 2);
    judged(&two, 3);
    assert_eq!(statuses(&receiver.came()), ["firing", "resolved"]);
    let [began, ended] = [0, 1].map(|at| receiver.came()[at].json()["alerts"][0].clone());
    for same in ["startsAt", "fingerprint"] {
        assert_eq!(
            began[same], ended[same],
            "{same}: it ends what the one told of"
        );
    }
    assert_eq!(began["labels"]["instance"], Value::Null, "it is of both");
    two.stop();
}

#[test]
fn a_silence_that_one_instance_took_holds_for_the_one_that_tells() {
    let test = "a_silence_that_one_instance_took_holds_for_the_one_that_tells";
    let Some(redis) = log(test) else { return };
    let homes: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let one = patient(&homes[0], &redis).start();
    holder(&redis);
    let two = patient(&homes[1], &redis).start();
    let until = std::time::SystemTime::now() + std::time::Duration::from_secs(3600);
    let until = humantime::format_rfc3339_seconds(until).to_string();
    let silence = json!({"counters": ["online_players"], "until": until, "reason": "a game ends"});
    two.admin().post("/api/v1/alerts/silence", &silence).ok();
    eventually("the one knows of it", PATIENCE, || {
        let known = alerts(&one)["silences"].clone();
        (known.as_array().unwrap().len() == 1).then_some(())
    });
    one.stop();
    two.stop();
}
