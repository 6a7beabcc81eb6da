//! What is asked and claimed once the load is over.

use std::collections::{BTreeMap, BTreeSet};

use super::{ALL, Control, DAILY, DAILY_USERS, OF_USERS, TWIN_A, TWIN_B, parts, request, step};
use crate::checker::{Account, Answer, History, Intent, Step, Try, Violation};
use crate::harness::{Client, PATIENCE, Response, eventually};
use crate::watching;

/// Asks the server once more for what must not have changed, then claims that the whole history is that
/// of an exact counter.
pub fn verify(client: &mut Client, control: &Control, mut history: History) {
    ask_again(client, control, &mut history);
    claim_exact(client, &history);
}

/// Asks the server once more for answers kept under keys (of up to 2,000 intents), and for users already
/// counted; then those who watched come back. What it says becomes part of the history.
pub fn ask_again(client: &mut Client, control: &Control, history: &mut History) {
    let mut users = BTreeSet::new();
    for intent in history
        .intents
        .iter()
        .filter(|intent| intent.acknowledged().is_some())
    {
        // Who was counted yesterday is counted today.
        let lasts = |step: &&Step| OF_USERS.contains(&step.counter.as_str());
        let of_user = |step: &Step| Some((step.counter.clone(), step.user.clone()?));
        users.extend(intent.steps.iter().filter(lasts).filter_map(of_user));
    }
    let keyed = |intent: &&mut Intent| intent.key.is_some() && intent.acknowledged().is_some();
    for intent in history.intents.iter_mut().rev().filter(keyed).take(2000) {
        let (path, body) = request(&intent.steps);
        let begun = control.now();
        let key = intent.key.as_deref().unwrap();
        let answer = once_served(|| client.post_keyed(&path, key, &body));
        let done = Answer::Counted(parts(&answer.ok()));
        assert_eq!(
            answer.header("idempotency-replayed"),
            Some("true"),
            "{intent:?}"
        );
        intent.tries.push(Try {
            begun,
            ended: control.now(),
            answer: done,
        });
    }
    let users: Vec<(String, String)> = users.into_iter().collect();
    for users in users.chunks(500) {
        let one = |(counter, user): &(String, String)| Step {
            user: Some(user.clone()),
            ..step(counter, 1)
        };
        let steps: Vec<Step> = users.iter().map(one).collect();
        let (begun, (path, body)) = (control.now(), request(&steps));
        let done = parts(&once_served(|| client.post(&path, &body)).ok());
        assert!(
            done.iter().all(|part| !part.counted),
            "a user already counted was counted again"
        );
        let intent = Intent::counted(steps, begun, control.now(), done);
        history.intents.push(intent);
    }
    watching::come_back(client.address(), control, history);
}

/// The answer once writes are served: a fault may strike late, when a table is flushed. Whoever is seen
/// again in a window or renews a lease is written too, so that such a fault leaves these unknown; asked
/// again they change nothing more.
fn once_served(mut ask: impl FnMut() -> Response) -> Response {
    eventually("writes are served", PATIENCE, || {
        let answer = ask();
        let failed = answer.status == 503
            && ["read_only", "outcome_unknown"].contains(&answer.code().as_str());
        (!failed).then_some(answer)
    })
}

/// Claims that the history is that of an exact counter, with the values that are there now.
#[track_caller]
fn claim_exact(client: &mut Client, history: &History) {
    let found = violations(client, history);
    assert_eq!(
        found.iter().take(10).collect::<Vec<_>>(),
        Vec::<&Violation>::new()
    );
}

/// What is wrong with the history, with the values that are there now.
pub fn violations(client: &mut Client, history: &History) -> Vec<Violation> {
    let mut finals: BTreeMap<Account, i64> = BTreeMap::new();
    for name in ALL {
        finals.insert((name.to_owned(), None), client.value(name));
    }
    assert_eq!(
        finals[&(TWIN_A.to_owned(), None)],
        finals[&(TWIN_B.to_owned(), None)]
    );
    let is_daily = |step: &Step| [DAILY, DAILY_USERS].contains(&step.counter.as_str());
    let mut steps = history.intents.iter().flat_map(|intent| &intent.steps);
    if steps.any(is_daily) {
        for name in [DAILY, DAILY_USERS] {
            let path = format!("/api/v1/counter/{name}/history");
            let days = client.get(&path).ok()["days"].take();
            for day in days.as_array().unwrap() {
                let date = day["date"].as_str().unwrap().to_owned();
                let value = day["final_value"].as_i64().unwrap();
                finals.insert((name.to_owned(), Some(date)), value);
            }
        }
    }
    history.check(&finals)
}
